-- How large are the clusters of duplicates? (One member of each was kept.)
SELECT stage, members, count(*) AS clusters
FROM (SELECT stage, cluster, count(*) + 1 AS members FROM clusters GROUP BY stage, cluster)
GROUP BY stage, members
ORDER BY stage, members;
