-- Which repositories lost files, at which stage, and why? (One repository's files: FROM dropped WHERE repository = '...'.)
SELECT
    repository,
    stage,
    reason,
    count(*) AS files,
    sum(size)::BIGINT AS bytes,
    min(path) AS for_example
FROM dropped
WHERE repository IS NOT NULL
GROUP BY repository, stage, reason
ORDER BY files DESC, repository, stage, reason;
