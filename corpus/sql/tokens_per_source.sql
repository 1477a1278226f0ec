-- How many tokens of each source are in the shards, and how many documents do they come from?
SELECT
    stage,
    source,
    sum(length)::BIGINT AS tokens,
    sum(length) / sum(sum(length)) OVER (PARTITION BY stage) AS share,
    count(DISTINCT id) AS documents
FROM shard_documents
GROUP BY stage, source
ORDER BY stage, source;
