-- What does a document of each source look like? (Two of each, drawn by their ids, and one with formulas.)
SELECT coalesce(target, source) AS source, id, coalesce(url, path, repository) AS name, length(text) AS chars,
       formulas, left(text, 1500) AS text
FROM corpus
QUALIFY row_number() OVER (PARTITION BY coalesce(target, source) ORDER BY id) <= 2
     OR (formulas > 0 AND row_number() OVER (PARTITION BY coalesce(target, source), formulas > 0 ORDER BY id) = 1)
ORDER BY source, formulas > 0 DESC NULLS LAST, id;
