-- Which files that stay depend on files that were dropped, and why were these dropped?
SELECT
    stage,
    repository,
    target AS dropped_file,
    dropped_at,
    reason,
    count(*) AS needed_by,
    min(source) AS for_example
FROM lost_dependencies
GROUP BY stage, repository, target, dropped_at, reason
ORDER BY needed_by DESC, stage, repository, dropped_file;
