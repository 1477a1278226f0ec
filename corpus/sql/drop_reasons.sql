-- Why was something dropped, at which stage, and how often?
SELECT stage, reason.key AS reason, reason.value AS dropped, rows_in, reason.value / rows_in AS share
FROM (SELECT stage, started, rows_in, unnest(map_entries(dropped)) AS reason FROM stages)
ORDER BY started, stage, dropped DESC, reason;
