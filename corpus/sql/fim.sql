-- Which share of each source is packed as fill-in-the-middle?
WITH hole AS (
    SELECT stage, token
    FROM (SELECT stage, json_extract(manifest, '$.shards.special_tokens.fim_hole')::INTEGER AS token FROM stages)
    WHERE token IS NOT NULL
), spans AS (
    SELECT s.stage, d.source, d.length, list_contains(s.tokens[d.start + 1 : d.start + d.length], hole.token) AS middle
    FROM (SELECT stage, tokens, unnest(documents) AS d FROM shards) AS s JOIN hole USING (stage)
)
SELECT
    stage,
    source,
    count(*) FILTER (middle) AS windows,
    (sum(length) FILTER (middle))::BIGINT AS tokens,
    coalesce(sum(length) FILTER (middle), 0) / sum(length) AS share
FROM spans
GROUP BY stage, source
ORDER BY stage, source;
