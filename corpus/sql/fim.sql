-- Which share of each source is packed as fill-in-the-middle? (Of the windows that the manifest counts; where it counts none, of the pieces in the shards.)
WITH sources AS (
    SELECT stage, unnest(map_entries(from_json(json_extract(manifest, '$.mixture'), '"MAP(VARCHAR, JSON)"'))) AS s
    FROM stages WHERE json_exists(manifest, '$.shards.fim_windows')
), told AS (
    SELECT
        stage,
        s.key AS source,
        coalesce(json_extract(s.value, '$.fim.cut')::BIGINT, 0) AS windows,
        NULL::BIGINT AS tokens,
        coalesce(json_extract(s.value, '$.fim.rate')::DOUBLE, 0) AS share
    FROM sources
), hole AS (
    SELECT stage, json_extract(manifest, '$.shards.special_tokens.fim_hole')::INTEGER AS token FROM stages
    WHERE json_exists(manifest, '$.shards.special_tokens.fim_hole') AND stage NOT IN (SELECT stage FROM told)
), spans AS (
    SELECT s.stage, d.source, d.length, list_contains(s.tokens[d.start + 1 : d.start + d.length], hole.token) AS middle
    FROM (SELECT stage, tokens, unnest(documents) AS d FROM shards) AS s JOIN hole USING (stage)
)
SELECT stage, source, windows, tokens, share FROM told
UNION ALL
SELECT
    stage,
    source,
    count(*) FILTER (middle),
    (sum(length) FILTER (middle))::BIGINT,
    count(*) FILTER (middle) / count(*)
FROM spans
GROUP BY stage, source
ORDER BY stage, source;
