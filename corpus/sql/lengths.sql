-- How long are the documents of each stage, in characters?
SELECT
    stage,
    count(*) AS documents,
    sum(length(text))::BIGINT AS chars,
    round(avg(length(text)))::BIGINT AS mean,
    quantile_disc(length(text), 0.1) AS p10,
    quantile_disc(length(text), 0.5) AS median,
    quantile_disc(length(text), 0.9) AS p90,
    max(length(text)) AS longest
FROM documents LEFT JOIN stages USING (stage)
GROUP BY stage, started
ORDER BY started, stage;
