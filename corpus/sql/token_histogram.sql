-- How many tokens of a document are in the shards, by source? (Bins double; `from_tokens` is where one begins.)
WITH packed AS (
    SELECT stage, source, id, sum(length) AS tokens FROM shard_documents WHERE id IS NOT NULL GROUP BY ALL
)
SELECT
    stage,
    source,
    CASE WHEN tokens > 0 THEN (2 ** floor(log2(tokens)))::BIGINT ELSE 0 END AS from_tokens,
    count(*) AS documents,
    sum(tokens)::BIGINT AS tokens
FROM packed
GROUP BY ALL
ORDER BY stage, source, from_tokens;
