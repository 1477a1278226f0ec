-- How are the classifiers' scores distributed in each round, and where was the cut?
WITH counted AS (
    SELECT round, target, floor(least(score, 0.9999) * 10) / 10 AS at_least, count(*) AS pages FROM scores GROUP BY ALL
)
SELECT round, target, at_least, counted.pages, cut
FROM counted LEFT JOIN mining_rounds USING (round, target)
ORDER BY round, target, at_least;
