-- How long are the documents of each stage, in characters?
WITH counted AS (
    SELECT stage, characters, count(*) AS documents FROM documents WHERE characters IS NOT NULL GROUP BY ALL
), placed AS (
    SELECT
        *,
        sum(documents) OVER (PARTITION BY stage ORDER BY characters) AS up_to_here,
        sum(documents) OVER (PARTITION BY stage) AS in_all
    FROM counted
)
SELECT
    stage,
    sum(documents)::BIGINT AS documents,
    sum(characters * documents)::BIGINT AS chars,
    round(sum(characters * documents) / sum(documents))::BIGINT AS mean,
    min(characters) FILTER (up_to_here / in_all >= 0.1) AS p10,
    min(characters) FILTER (up_to_here / in_all >= 0.5) AS median,
    min(characters) FILTER (up_to_here / in_all >= 0.9) AS p90,
    max(characters) AS longest
FROM placed LEFT JOIN stages USING (stage)
GROUP BY stage, started
ORDER BY started, stage;
