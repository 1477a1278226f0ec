-- What became of each repository: files kept and dropped, dependencies lost, and what was done about it?
SELECT
    stage,
    repository,
    files,
    kept,
    files - kept AS dropped,
    array_to_string([d.reason || ' ' || d.files FOR d IN accounts.dropped], ', ') AS reasons,
    edges,
    edges_lost,
    stubs,
    decision
FROM accounts
ORDER BY edges_lost DESC, files DESC, stage, repository;
