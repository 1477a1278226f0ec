-- How full are the packed sequences, how many documents share one, and how many are cut?
WITH spans AS (
    SELECT
        stage,
        file,
        row,
        sum(length) AS tokens,
        coalesce(sum(length) FILTER (id IS NOT NULL), 0) AS of_documents,
        count(id) AS pieces,
        count(*) FILTER ("offset" > 0) AS cuts
    FROM shard_documents
    GROUP BY ALL
)
SELECT
    stage,
    count(*) AS sequences,
    sum(tokens)::BIGINT AS tokens,
    max(tokens)::BIGINT AS sequence_length,
    sum(of_documents)::BIGINT AS tokens_of_documents,
    avg(pieces) AS pieces_per_sequence,
    (SELECT sum(completed) FROM shards WHERE shards.stage = spans.stage)::BIGINT AS windows_completed,
    sum(cuts)::BIGINT AS cuts
FROM spans
GROUP BY stage
ORDER BY stage;
