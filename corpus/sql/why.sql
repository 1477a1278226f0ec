-- What became of the documents whose address, path or repository is like the variable `pattern`?
-- Set it first: SET VARIABLE pattern = '%scipy.special%';
WITH named AS (
    SELECT id, coalesce(url, repository || '/' || path, path, repository) AS name FROM raw
    WHERE url ILIKE getvariable('pattern') OR path ILIKE getvariable('pattern')
       OR repository ILIKE getvariable('pattern')
    UNION
    SELECT id, coalesce(url, repository || '/' || path, path, repository) FROM dropped
    WHERE url ILIKE getvariable('pattern') OR path ILIKE getvariable('pattern')
       OR repository ILIKE getvariable('pattern')
    UNION
    SELECT id, repository FROM repositories WHERE repository ILIKE getvariable('pattern')
), wanted AS (
    SELECT id, max(name) AS name FROM named GROUP BY id
), fates AS (
    SELECT id, stage, 'kept' AS fate, NULL AS reason, NULL AS detail FROM documents SEMI JOIN wanted USING (id)
    UNION ALL
    SELECT id, stage, 'dropped', reason, detail FROM dropped SEMI JOIN wanted USING (id)
    UNION ALL
    SELECT id, stage, 'packed', NULL, sum(length)::VARCHAR || ' tokens' FROM shard_documents SEMI JOIN wanted USING (id)
    GROUP BY id, stage
)
SELECT name, stage, fate, reason, detail, id
FROM fates JOIN wanted USING (id) LEFT JOIN stages USING (stage)
ORDER BY name, id, started, stage, fate, reason, detail;
