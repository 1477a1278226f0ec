-- How many documents of the corpus are how long, by source? (Bins double; `from_chars` is where one begins.)
SELECT
    coalesce(target, source) AS source,
    CASE WHEN characters > 0 THEN (2 ** floor(log2(characters)))::BIGINT ELSE 0 END AS from_chars,
    count(*) AS documents,
    sum(characters)::BIGINT AS chars
FROM corpus
WHERE characters IS NOT NULL
GROUP BY ALL
ORDER BY source, from_chars;
