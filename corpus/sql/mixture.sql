-- Which share of each shard's tokens comes from which source, beside the share that was asked for?
WITH asked AS (
    SELECT stage, s.key AS source, json_extract(s.value, '$.asked')::DOUBLE AS asked
    FROM (SELECT stage,
                 unnest(map_entries(from_json(json_extract(manifest, '$.mixture'), '"MAP(VARCHAR, JSON)"'))) AS s
          FROM stages)
)
SELECT
    stage,
    file,
    source,
    sum(length)::BIGINT AS tokens,
    sum(length) / sum(sum(length)) OVER (PARTITION BY stage, file) AS share,
    any_value(asked) AS asked
FROM shard_documents LEFT JOIN asked USING (stage, source)
WHERE id IS NOT NULL
GROUP BY stage, file, source
ORDER BY stage, file, source;
