-- What does a document of each source look like? (Two of each, drawn by their ids, and one with formulas.)
WITH drawn AS (
    SELECT unnest(min(id, 2) || coalesce(min(id, 1) FILTER (formulas > 0), [])) AS id
    FROM corpus GROUP BY coalesce(target, source)
)
SELECT coalesce(target, source) AS source, id, coalesce(url, path, repository) AS name, characters AS chars,
       formulas, left(text, 1500) AS text
FROM corpus
WHERE id IN (SELECT id FROM drawn)
ORDER BY source, formulas > 0 DESC NULLS LAST, id;
