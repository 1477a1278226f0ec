-- Which near-duplicates were taken for one another, the least alike first? (A text: SELECT text FROM documents WHERE id = '...')
WITH pairs AS (
    SELECT stage, id, winner, jaccard, containment FROM clusters
    WHERE jaccard IS NOT NULL
    ORDER BY jaccard, id
    LIMIT 10
), members AS (
    SELECT unnest([id, winner]) AS id FROM pairs
), names AS (
    SELECT id, any_value(coalesce(url, repository || '/' || path, repository)) AS name
    FROM raw WHERE id IN (SELECT id FROM members)
    GROUP BY id
)
SELECT
    p.stage,
    round(p.jaccard, 3) AS jaccard,
    round(p.containment, 3) AS containment,
    p.id,
    d.name AS dropped,
    p.winner,
    k.name AS kept
FROM pairs AS p LEFT JOIN names AS d ON d.id = p.id LEFT JOIN names AS k ON k.id = p.winner
ORDER BY p.jaccard, p.id;
