-- How did the held-out loss of each source change over training?
SELECT
    source,
    arg_min(heldout_loss, step) AS first,
    arg_max(heldout_loss, step) AS last,
    arg_min(heldout_loss, step) - arg_max(heldout_loss, step) AS fallen,
    max(step) AS steps
FROM training
WHERE source IS NOT NULL
GROUP BY source
ORDER BY source;
