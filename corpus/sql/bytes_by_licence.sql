-- How many bytes of each language are under which licence, read and kept? (Sizes as they were read; no licence: nothing says.)
WITH files AS (
    SELECT id, max(language) AS language, max(licence) AS licence, max(size) AS size FROM documents
    WHERE repository IS NOT NULL AND path IS NOT NULL
    GROUP BY id
)
SELECT
    coalesce(language, 'unknown') AS language,
    licence,
    count(*) AS files,
    sum(size)::BIGINT AS bytes,
    count(*) FILTER (kept) AS files_kept,
    coalesce(sum(size) FILTER (kept), 0)::BIGINT AS bytes_kept
FROM (SELECT *, id NOT IN (SELECT id FROM dropped WHERE id IS NOT NULL AND path IS NOT NULL) AS kept FROM files)
GROUP BY ALL
ORDER BY bytes DESC NULLS LAST, language, licence;
