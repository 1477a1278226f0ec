-- Which documents were in an earlier corpus already, by corpus and by what they share?
WITH found AS (
    SELECT stage, corpus, reason FROM matches
    UNION ALL
    SELECT stage, corpus, reason FROM clusters WHERE corpus IS NOT NULL
)
SELECT stage, corpus, reason, count(*) AS documents
FROM found
GROUP BY stage, corpus, reason
ORDER BY stage, corpus, documents DESC, reason;
