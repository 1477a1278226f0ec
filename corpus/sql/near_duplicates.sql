-- How similar were the near-duplicates that went to the nearest document of their cluster? (Exact Jaccard similarity.)
SELECT stage, floor(jaccard * 20) / 20 AS jaccard_from, count(*) AS documents, round(avg(containment), 3) AS containment
FROM clusters
WHERE jaccard IS NOT NULL AND reason NOT LIKE '%contained_repository'
GROUP BY stage, jaccard_from
ORDER BY stage, jaccard_from;
