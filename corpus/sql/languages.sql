-- In which languages, natural and of programs, is the corpus written?
WITH pieces AS (
    SELECT 'page' AS kind, language, count(*) AS documents, sum(characters) AS chars FROM corpus
    WHERE url IS NOT NULL
    GROUP BY ALL
    UNION ALL
    SELECT 'file', file.language, count(*), sum(file."end" - file.start)
    FROM (SELECT unnest(files) AS file FROM repositories SEMI JOIN (FROM stages WHERE final) AS f USING (stage))
    GROUP BY ALL
    UNION ALL
    SELECT 'file', language, count(*), sum(characters) FROM corpus
    WHERE url IS NULL AND stage NOT IN (SELECT stage FROM repositories)
    GROUP BY ALL
)
SELECT
    kind,
    coalesce(language, 'unknown') AS language,
    sum(documents)::BIGINT AS documents,
    sum(chars)::BIGINT AS chars
FROM pieces
GROUP BY ALL
ORDER BY kind DESC, chars DESC, language;
