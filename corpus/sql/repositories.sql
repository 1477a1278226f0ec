-- Which repositories are the largest, and does their order put dependencies first?
SELECT repository, language, len(files) AS files, characters AS chars, edges, edges_satisfied,
       len(unparsed) AS unparsed
FROM repositories
ORDER BY chars DESC, repository;
