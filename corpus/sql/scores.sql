-- How are the classifiers' scores distributed in each round?
SELECT round, target, floor(least(score, 0.9999) * 10) / 10 AS at_least, count(*) AS pages
FROM scores
GROUP BY ALL
ORDER BY round, target, at_least;
