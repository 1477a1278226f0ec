-- How full are the packed sequences, and how many documents share one?
SELECT
    stage,
    count(*) AS sequences,
    sum(len(tokens))::BIGINT AS tokens,
    max(len(tokens)) AS sequence_length,
    sum(list_sum([d.length FOR d IN documents]))::BIGINT AS tokens_of_documents,
    avg(len(documents)) AS pieces_per_sequence,
    sum(completed)::BIGINT AS windows_completed
FROM shards
GROUP BY stage
ORDER BY stage;
