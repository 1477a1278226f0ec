-- Which evaluation items were found, in how many documents, and in which words? Low coverage in many: generic words.
SELECT
    stage, benchmark, item, field,
    count(DISTINCT id) AS documents,
    round(max(coverage), 3) AS highest_coverage,
    arg_max(excerpt, (coverage, id)) AS excerpt,
    arg_max(coalesce(url, path, id), (coverage, id)) AS found_in
FROM contamination
GROUP BY stage, benchmark, item, field
ORDER BY documents DESC, highest_coverage DESC, benchmark, item, field, stage;
