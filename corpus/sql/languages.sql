-- In which languages, natural and of programs, is the corpus written?
WITH pieces AS (
    SELECT 'page' AS kind, language, length(text) AS chars FROM corpus WHERE url IS NOT NULL
    UNION ALL
    SELECT 'file', file.language, file."end" - file.start
    FROM (SELECT unnest(files) AS file FROM repositories SEMI JOIN (FROM stages WHERE final) AS f USING (stage))
    UNION ALL
    SELECT 'file', language, length(text) FROM corpus
    WHERE url IS NULL AND stage NOT IN (SELECT stage FROM repositories)
)
SELECT kind, coalesce(language, 'unknown') AS language, count(*) AS documents, sum(chars)::BIGINT AS chars
FROM pieces
GROUP BY kind, coalesce(language, 'unknown')
ORDER BY kind DESC, chars DESC, language;
