-- How often does a file stand behind the files it depends on, by the order and the samples chosen?
SELECT
    stage,
    "order",
    sample,
    count(*) AS repositories,
    sum(len(files))::BIGINT AS files,
    sum(edges)::BIGINT AS edges,
    sum(edges * edges_satisfied) / nullif(sum(edges), 0) AS satisfied,
    count(*) FILTER (edges > 0 AND edges_satisfied = 1) AS all_satisfied,
    count(*) FILTER (edges > 0) AS with_edges,
    sum(len(samples))::BIGINT AS samples,
    sum(edges * edges_in_sample) / nullif(sum(edges), 0) AS in_sample,
    sum(len(skeletons))::BIGINT AS skeletons,
    sum(edges * edges_by_skeleton) / nullif(sum(edges), 0) AS by_skeleton
FROM repositories
GROUP BY stage, "order", sample
ORDER BY stage, "order", sample;
