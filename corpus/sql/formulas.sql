-- How many formulas do pages of each target hold?
SELECT
    coalesce(target, source) AS target,
    count(*) AS pages,
    count(*) FILTER (formulas > 0) AS with_formulas,
    sum(formulas)::BIGINT AS formulas,
    avg(formulas) AS mean,
    max(formulas) AS most
FROM corpus
WHERE formulas IS NOT NULL
GROUP BY coalesce(target, source)
ORDER BY formulas DESC, target;
