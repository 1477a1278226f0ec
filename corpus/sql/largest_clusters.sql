-- Which documents have the most duplicates, and under which names? (The one that was kept, and one that was not.)
WITH largest AS (
    SELECT stage, cluster, count(*) + 1 AS members, count(*) FILTER (jaccard IS NOT NULL) AS near,
           min(winner) AS winner, min(id) AS member
    FROM clusters
    GROUP BY stage, cluster
    ORDER BY members DESC, winner
    LIMIT 20
), examples AS (
    SELECT unnest([winner, member]) AS id FROM largest
), names AS (
    SELECT id, any_value(coalesce(url, repository || '/' || path, repository)) AS name
    FROM raw WHERE id IN (SELECT id FROM examples)
    GROUP BY id
)
SELECT l.stage, l.members, l.near, l.winner AS id, k.name AS kept, d.name AS for_example
FROM largest AS l LEFT JOIN names AS k ON k.id = l.winner LEFT JOIN names AS d ON d.id = l.member
ORDER BY l.members DESC, l.winner;
