-- How often does a file stand behind the files it depends on, by the order chosen?
SELECT
    stage,
    "order",
    count(*) AS repositories,
    sum(len(files))::BIGINT AS files,
    sum(edges)::BIGINT AS edges,
    sum(edges * edges_satisfied) / nullif(sum(edges), 0) AS satisfied,
    count(*) FILTER (edges > 0 AND edges_satisfied = 1) AS all_satisfied,
    count(*) FILTER (edges > 0) AS with_edges
FROM repositories
GROUP BY stage, "order"
ORDER BY stage, "order";
