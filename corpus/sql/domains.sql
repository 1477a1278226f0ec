-- Which domains give the most pages to the corpus, and how many did they have when the crawl was read?
WITH crawled AS (
    SELECT domain, count(*) AS crawled FROM raw WHERE domain IS NOT NULL GROUP BY domain
), kept AS (
    SELECT domain, count(*) AS pages, sum(characters)::BIGINT AS chars, sum(formulas)::BIGINT AS formulas
    FROM corpus WHERE domain IS NOT NULL
    GROUP BY domain
)
SELECT domain, pages, crawled, chars, formulas
FROM kept LEFT JOIN crawled USING (domain)
ORDER BY pages DESC, domain;
