"""Where a document went, and where a token came from: two table macros over the views of `corpus.inspect`.

`FROM trace('https://site.org/page')`, or an id, `'owner/repository'` or `'owner/repository path/of/file'`: one row for
everything that happened to it, in the order of the stages, and to the document that was kept where it is a
near-duplicate (`of_winner`). `FROM origin('part-00000.parquet', 12, 0, 99)`: the
documents that the tokens 0 to 99 of row 12 of a shard came from, each with its page or files, its scores and the
stages that it passed.

They are plain SQL, so that a saved database has them as well, and they look for ids before anything else: no text is
read.
"""

import duckdb

from corpus.urls import canonical_url

# An address as it may be given: with and without scheme, `www.`, a port that says nothing and a slash at the end.
SPELLINGS = r"""
CREATE MACRO bare_address(url) AS
    rtrim(regexp_replace(split_part(trim(url), '#', 1), '^([A-Za-z][A-Za-z0-9+.-]*://)?', ''), '/');
CREATE MACRO plain_host(url) AS
    regexp_replace(lower(split_part(bare_address(url), '/', 1)), '^www\.|:(80|443)$', '', 'g');
CREATE MACRO plain_address(url) AS
    plain_host(url) || substr(bare_address(url), length(split_part(bare_address(url), '/', 1)) + 1)
"""
FORMS = [
    f"'{scheme}' || plain_address(wanted){end}"
    for scheme in ("https://", "http://")
    for end in ("", " || '/'")
]
# Windows of a repository's document follow one another; what a window repeats of a path comment is none of its own.
PLACES = """
    pieces AS (
        SELECT w.stage, w.id, w.chunk, length(w.text) - coalesce(w.repeated, 0) AS characters
        FROM windows w SEMI JOIN (SELECT id FROM ids SEMI JOIN repositories USING (id)) USING (id)
    ),
    places AS (
        SELECT id, chunk, sum(characters) OVER (PARTITION BY stage, id ORDER BY chunk) AS stop,
            stop - characters AS begin
        FROM pieces
    )"""

# Constants, one column at a time: DuckDB asks the Bloom filters that Lode writes for ids and addresses, and reads next
# to nothing. A document has one id all the way; the same page may be there from several sources.
EQUALITIES = [
    "id = trim(wanted)",
    "repository = trim(wanted)",
    "repository = split_part(trim(wanted), ' ', 1) AND path = substr(trim(wanted), strpos(trim(wanted), ' ') + 1)",
    f"url IN ({', '.join(['trim(wanted)', *FORMS])})",
]
NAMED = " UNION ALL BY NAME ".join(
    [f"SELECT id FROM raw WHERE {one}" for one in EQUALITIES]
    + [
        f"SELECT stage, id, url, repository, path, reason, detail FROM dropped WHERE {one}"
        for one in EQUALITIES
    ]
)

TRACE = f"""
CREATE MACRO trace(wanted) AS TABLE
WITH named AS MATERIALIZED (SELECT DISTINCT * FROM ({NAMED})),
    -- A file goes on as a part of its repository's document.
    whole AS (
        SELECT id FROM repositories WHERE repository = trim(wanted) OR id = trim(wanted)
        UNION
        SELECT id FROM repositories
        WHERE repository = split_part(trim(wanted), ' ', 1) AND list_contains(
            list_transform(files, lambda f: f.path), substr(trim(wanted), strpos(trim(wanted), ' ') + 1))
    ),
    own AS MATERIALIZED (SELECT id FROM named WHERE id IS NOT NULL UNION SELECT id FROM whole),
    -- A near-duplicate lives on in the document that was kept for it.
    ids AS MATERIALIZED (
        SELECT id FROM own UNION SELECT winner FROM clusters SEMI JOIN own USING (id) WHERE winner IS NOT NULL
    ),
    -- Of a file, only the windows that hold a part of it; where no windows are kept, all of its repository's.
    spans AS (
        SELECT r.id, f.start AS begin, f."end" AS stop
        FROM (SELECT id, repository, unnest(files) AS f FROM repositories SEMI JOIN whole USING (id)) r
        WHERE r.repository || ' ' || f.path = trim(wanted)
    ),{PLACES},
    within AS MATERIALIZED (
        SELECT DISTINCT p.id, p.chunk
        FROM places p JOIN spans s ON s.id = p.id AND s.begin < p.stop AND s.stop > p.begin
    ),
    events AS (
        SELECT stage, d.id, coalesce(d.url, concat_ws(' ', d.repository, d.path), d.id) AS name, 'kept' AS fate,
            NULL::VARCHAR AS reason, nullif(concat_ws(', ', 'source ' || d.source, 'target ' || d.target,
            'collected by ' || d.collected_by, 'licence ' || d.licence), '') AS detail, d.score, NULL::VARCHAR AS file,
            NULL::BIGINT AS row, NULL::BIGINT AS start, NULL::BIGINT AS length, 0 AS step
        FROM documents d SEMI JOIN ids USING (id)
        UNION ALL
        SELECT stage, d.id, coalesce(d.url, concat_ws(' ', d.repository, d.path), d.id), 'dropped', reason, detail,
            NULL, NULL, NULL, NULL, NULL, 3
        FROM dropped d SEMI JOIN ids USING (id)
        UNION ALL
        -- What was dropped before it had an id.
        SELECT stage, NULL, coalesce(url, concat_ws(' ', repository, path)), 'dropped', reason, detail, NULL, NULL,
            NULL, NULL, NULL, 3
        FROM named WHERE id IS NULL
        UNION ALL
        SELECT printf('mining/round-%d/scores', round), s.id, s.url, 'scored', target, NULL, score, NULL, NULL,
            NULL, NULL, 1
        FROM scores s SEMI JOIN ids USING (id)
        UNION ALL
        SELECT stage, c.id, c.id, 'duplicate of', reason,
            winner || coalesce(printf(', Jaccard %.2f', jaccard), '') || coalesce(' in ' || corpus, ''), jaccard, NULL,
            NULL, NULL, NULL, 2
        FROM clusters c SEMI JOIN ids USING (id) WHERE c.id <> c.winner
        UNION ALL
        SELECT stage, c.id, c.id, 'contaminated', benchmark, concat_ws(', ', item, field), coverage, NULL, NULL,
            c.start, c."end" - c.start, 2
        FROM contamination c SEMI JOIN ids USING (id)
        UNION ALL
        SELECT stage, w.id, w.id, 'cut to windows', NULL, printf('%d windows', count(*)), NULL, NULL, NULL, NULL,
            NULL, 1
        FROM windows w SEMI JOIN ids USING (id)
        WHERE (SELECT count(*) FROM within) = 0 OR (w.id, w.chunk) IN (SELECT (id, chunk) FROM within)
        GROUP BY stage, w.id
        UNION ALL
        SELECT stage, p.id, p.id, 'packed', NULL, printf('window %d, epoch %d', chunk, epoch), NULL, p.file, p.row,
            p.start, p.length, 1
        FROM shard_documents p SEMI JOIN ids USING (id)
        WHERE (SELECT count(*) FROM within) = 0 OR (p.id, p.chunk) IN (SELECT (id, chunk) FROM within)
    )
SELECT coalesce(s.place, 0) AS place, e.stage, e.id, e.id IS NOT NULL AND e.id NOT IN (FROM own) AS of_winner, e.name,
    e.fate, e.reason, e.detail, e.score, e.file, e.row, e.start, e.length
FROM events e LEFT JOIN (SELECT stage, row_number() OVER () AS place FROM stages) s USING (stage)
ORDER BY place, e.step, e.stage, e.name, e.reason, e.file, e.row, e.start
"""

ORIGIN = f"""
CREATE MACRO origin(shard, sequence, first_token, last_token) AS TABLE
WITH here AS MATERIALIZED (
        SELECT stage, file, row, id, source, start, length, chunk, epoch FROM shard_documents
        WHERE file = shard AND row = sequence AND start <= last_token AND start + length > first_token
            AND id IS NOT NULL
    ),
    ids AS MATERIALIZED (SELECT DISTINCT id FROM here),
    page AS (
        SELECT id, any_value(url) AS url, any_value(repository) AS repository, any_value(path) AS path,
            any_value(title) AS title
        FROM documents SEMI JOIN ids USING (id) GROUP BY id
    ),{PLACES},
    -- Of a repository's window its files; where no windows are kept, all files of the repository.
    files AS (
        SELECT h.id, h.chunk, any_value(list_transform(
            list_filter(r.files, lambda f: p.id IS NULL OR (f.start < p.stop AND f."end" > p.begin)), lambda f: f.path
        )) AS files
        FROM here h JOIN repositories r USING (id) LEFT JOIN places p ON p.id = h.id AND p.chunk = h.chunk
        GROUP BY h.id, h.chunk
    ),
    passed AS (
        SELECT id, list(stage ORDER BY place) AS stages
        FROM (
            SELECT d.stage, d.id FROM documents d SEMI JOIN ids USING (id)
            UNION
            -- What its files passed before they became one document.
            SELECT d.stage, f.id FROM files f JOIN page p USING (id)
                JOIN documents d ON d.repository = p.repository AND list_contains(f.files, d.path)
        ) seen
        LEFT JOIN (SELECT stage, row_number() OVER () AS place FROM stages) USING (stage) GROUP BY id
    ),
    scored AS (
        SELECT id, list({{'round': round, 'target': target, 'score': score}} ORDER BY round, target) AS scores
        FROM scores SEMI JOIN ids USING (id) GROUP BY id
    ),
    own AS (
        SELECT id, list({{'stage': stage, 'score': score}} ORDER BY stage) AS own_scores
        FROM documents SEMI JOIN ids USING (id) WHERE score IS NOT NULL GROUP BY id
    )
SELECT h.stage, h.start, h.length, h.id, h.source, p.url, p.repository,
    coalesce(f.files, CASE WHEN p.path IS NOT NULL THEN [p.path] END) AS files, p.title, h.chunk, h.epoch,
    passed.stages, scored.scores AS mining_scores, own.own_scores AS scores
FROM here h LEFT JOIN page p USING (id) LEFT JOIN passed USING (id) LEFT JOIN scored USING (id) LEFT JOIN own USING (id)
    LEFT JOIN files f ON f.id = h.id AND f.chunk = h.chunk
ORDER BY h.stage, h.start
"""


def add_macros(connection: duckdb.DuckDBPyConnection) -> None:
    """Give a connection with the views of a work folder `trace` and `origin`."""
    for statement in (SPELLINGS, TRACE, ORIGIN):
        connection.execute(statement)


def plain_key(key: str) -> str:
    """A key for `trace`: an address as it is stored, whatever its spelling; ids and repositories as they are."""
    return canonical_url(key) if "://" in key else key
