-- How full are the packed sequences, how many documents share one, and how many are cut?
SELECT
    stage,
    count(*) AS sequences,
    sum(len(tokens))::BIGINT AS tokens,
    max(len(tokens)) AS sequence_length,
    coalesce(sum(list_sum([d.length FOR d IN documents IF d.id IS NOT NULL])), 0)::BIGINT AS tokens_of_documents,
    avg(len([d FOR d IN documents IF d.id IS NOT NULL])) AS pieces_per_sequence,
    sum(completed)::BIGINT AS windows_completed,
    sum(len([d FOR d IN documents IF d.offset > 0]))::BIGINT AS cuts
FROM shards
GROUP BY stage
ORDER BY stage;
