-- Which domains give the most pages to the corpus, and how many did they have when the crawl was read?
WITH crawled AS (
    SELECT domain, count(*) AS crawled FROM documents
    WHERE stage = (SELECT stage FROM stages WHERE inputs = [] AND stage NOT LIKE 'mining/%'
                   AND stage IN (SELECT stage FROM documents WHERE domain IS NOT NULL) ORDER BY started LIMIT 1)
    GROUP BY domain
)
SELECT
    domain,
    count(*) AS pages,
    crawled,
    sum(length(text))::BIGINT AS chars,
    sum(formulas)::BIGINT AS formulas
FROM corpus LEFT JOIN crawled USING (domain)
WHERE domain IS NOT NULL
GROUP BY domain, crawled
ORDER BY pages DESC, domain;
