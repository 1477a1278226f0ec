-- On which domains do pages of the corpus hold formulas, and how many a page?
SELECT
    domain,
    count(*) AS pages,
    count(*) FILTER (formulas > 0) AS with_formulas,
    sum(formulas)::BIGINT AS formulas,
    avg(formulas) AS per_page
FROM corpus
WHERE domain IS NOT NULL AND formulas IS NOT NULL
GROUP BY domain
ORDER BY formulas DESC, domain
LIMIT 100;
