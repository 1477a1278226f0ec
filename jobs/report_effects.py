"""What the changes did: to the documents, to what the corpus is made of, to the mining rounds, to the model."""

from typing import Any

from corpus.inspect import literal
from corpus.manifests import dict_of
from jobs.charts import Line, cut, grouped_bars, histogram, line_chart, short
from jobs.report import percent
from jobs.report_facts import Section
from jobs.report_mining import percents
from jobs.report_pair import ROWS, Pair, delta, listed, many, number, table, told

EXAMPLES = 3  # of each fate
ALTERED = 4  # documents whose texts differ, followed to the stage where they begin to
FATES = 12  # in a table
MOST = 12  # differences of a kind
NAME = 300  # characters of a name
HASHED = 4_000_000_000  # characters of a corpus; of a larger one lengths are compared and not texts
POINTS = 200  # of a curve
NAMED = "coalesce(url, nullif(concat_ws(' ', repository, path), ''), title, id)"


def same(said: str) -> dict[str, Any]:
    return {"same": said}


# Documents


def documents(pair: Pair) -> Section:
    """Which documents are in both corpora, and what became of the others in the folder that has them not."""
    sizes = [facts.rows("SELECT count(*) AS n, sum(characters) AS c FROM corpus")[0] for facts in pair.both]
    if not sizes[0]["n"] and not sizes[1]["n"]:
        return None
    by_text = max(size["c"] or 0 for size in sizes) <= HASHED
    gather_ids(pair, by_text)
    rows = pair.rows(
        """
        SELECT coalesce(a.source, b.source) AS source, count(a.id) AS a, count(b.id) AS b,
               count(*) FILTER (a.id IS NOT NULL AND b.id IS NOT NULL) AS in_both,
               count(*) FILTER (b.id IS NULL) AS only_a, count(*) FILTER (a.id IS NULL) AS only_b,
               count(*) FILTER (a.content <> b.content) AS altered, count(*) FILTER (a.source <> b.source) AS moved
        FROM ours a FULL JOIN theirs b USING (id) GROUP BY ALL ORDER BY only_a + only_b + altered DESC, source
        """
    )
    keys = ("a", "b", "in_both", "only_a", "only_b", "altered", "moved")
    total = {key: sum(row[key] for row in rows) for key in keys}
    what = "text" if by_text else "length"
    if not total["only_a"] + total["only_b"] + total["altered"] + total["moved"]:
        return same(f"Both hold the same {many(total['a'], 'document')}, of the same {what}.") | {
            "total": total
        }
    body = [[cut(row["source"], 60), *(number(row[key]) for key in keys[:-1])] for row in rows]
    if len(rows) > 1:
        body.append(["all", *(number(total[key]) for key in keys[:-1])])
    tables = [
        table("Documents of each source", ["Source", "A", "B", "In both", "Only in A", "Only in B", f"Other {what}"],
              body[:ROWS], len(body) - ROWS, note=f"Compared by their ids, and by {what} where both have them. "
              "A document that went from one source to another counts for that of A.")
    ]  # fmt: skip
    tables += (
        fates(pair, "A", "B")
        + fates(pair, "B", "A")
        + moved(pair, total["moved"])
        + altered(pair, what, total)
    )
    overlap = [
        ("only in A", total["only_a"], 1),
        ("in both", total["in_both"], 6),
        ("only in B", total["only_b"], 2),
    ]
    return {"tables": tables, "total": total, "overlap": overlap}


def gather_ids(pair: Pair, by_text: bool) -> None:
    """`ours` and `theirs`: (id, source, content) of the final stages; texts of a stage that is the same stay unread."""
    # Of a dataset without manifests nothing says that it is the same.
    finals = [{stage for stage, row in facts.stages.items() if row["final"]} for facts in pair.both]
    alike = sorted((finals[0] & finals[1]) - pair.causes.keys())
    known = f"stage IN ({', '.join(map(literal, alike))})" if alike else "false"
    for name, schema in (("ours", ""), ("theirs", "b.main.")):
        content = "hash(text)" if by_text else "characters::UBIGINT"
        pair.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE {name} AS
            SELECT id, min(source) AS source, min(content) AS content FROM (
                SELECT id, coalesce(target, source, 'unknown') AS source, 0::UBIGINT AS content
                FROM {schema}corpus WHERE {known}
                UNION ALL
                SELECT id, coalesce(target, source, 'unknown'), {content} FROM {schema}corpus WHERE NOT ({known})
            ) WHERE id IS NOT NULL GROUP BY id
            """
        )


def schema_of(side: str) -> str:
    return "" if side == "A" else "b.main."


def fates(pair: Pair, here: str, there: str) -> list[dict[str, Any]]:
    """What became, in the folder `there`, of the documents that only `here` has."""
    mine, other = ("ours", "theirs") if here == "A" else ("theirs", "ours")
    own, far = schema_of(here), schema_of(there)
    pair.execute(f"CREATE OR REPLACE TEMP TABLE lost AS SELECT id FROM {mine} ANTI JOIN {other} USING (id)")
    if not pair.rows("SELECT 1 FROM lost LIMIT 1"):
        return []
    pair.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE place AS
        SELECT stage, (row_number() OVER ())::INTEGER AS place FROM {far}stages;
        CREATE OR REPLACE TEMP TABLE fate AS
        SELECT id, 'dropped' AS how, arg_max(stage, (p, stage, reason)) AS stage,
               arg_max(reason, (p, stage, reason)) AS reason
        FROM (SELECT d.id, d.stage, d.reason, coalesce(place, 0) AS p
              FROM {far}dropped d SEMI JOIN lost USING (id) LEFT JOIN place USING (stage))
        GROUP BY id
        """
    )
    missing = "SELECT id FROM lost ANTI JOIN fate USING (id)"
    if pair.rows(f"{missing} LIMIT 1"):
        # A repository's document is made of files, and these were dropped or not; its id changes with its samples.
        pair.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE made AS
            SELECT c.id, min(c.repository) AS repository FROM {own}corpus c SEMI JOIN ({missing}) USING (id)
            WHERE c.repository IS NOT NULL AND c.path IS NULL GROUP BY c.id;
            INSERT INTO fate
            WITH present AS (
                SELECT DISTINCT repository FROM {far}corpus SEMI JOIN made USING (repository)
            ), gone AS (
                SELECT repository, arg_max(stage, (n, place, reason)) AS stage,
                       arg_max(reason, (n, place, reason)) AS reason
                FROM (SELECT repository, stage, place, reason, count(*) AS n
                      FROM {far}dropped SEMI JOIN made USING (repository) LEFT JOIN place USING (stage) GROUP BY ALL)
                GROUP BY repository
            ), given AS (SELECT DISTINCT repository FROM {far}raw SEMI JOIN made USING (repository))
            SELECT m.id,
                CASE WHEN p.repository IS NOT NULL THEN 'otherwise' WHEN g.repository IS NOT NULL THEN 'files'
                     ELSE 'left' END,
                g.stage, g.reason
            FROM made m LEFT JOIN present p USING (repository) LEFT JOIN gone g USING (repository)
            LEFT JOIN given i USING (repository)
            WHERE p.repository IS NOT NULL OR g.repository IS NOT NULL OR i.repository IS NOT NULL
            """
        )
    if pair.rows(f"{missing} LIMIT 1"):
        pair.execute(
            f"""
            INSERT INTO fate
            SELECT id, 'left', arg_max(stage, (coalesce(place, 0), stage)), NULL
            FROM {far}documents SEMI JOIN ({missing}) USING (id) LEFT JOIN place USING (stage)
            WHERE NOT starts_with(stage, 'mining/') GROUP BY id
            """
        )
    found = pair.rows(
        f"""
        SELECT coalesce(how, 'absent') AS how, stage, reason, count(*) AS n, min(id, {EXAMPLES}) AS ids
        FROM lost LEFT JOIN fate USING (id) GROUP BY ALL ORDER BY n DESC, how, stage, reason
        """
    )
    shown = found[:FATES]
    words = examples(pair, here, there, [name for row in shown for name in row["ids"]])
    body = [
        [told(fate_of(row, there), reason_of(pair, row, there)), number(row["n"]),
         listed([words.get(name, (name, "")) for name in row["ids"]])]
        for row in shown
    ]  # fmt: skip
    total = sum(row["n"] for row in found)
    title = f"What became in {there} of the {many(total, 'document')} that only {here} has"
    return [table(title, ["<Fate", "Documents", "<For instance"], body, len(found) - FATES, kind="wordy")]


def fate_of(row: dict[str, Any], there: str) -> str:
    stage, reason = cut(row["stage"], 60), cut(row["reason"], 60).replace("_", " ")
    return {
        "dropped": f"dropped by {stage}: {reason}",
        "files": f"no document of its repository; most of the files dropped from it by {stage}: {reason}",
        "otherwise": "its repository is there, cut or named in another way",
        "left": f"not taken on after {stage}" if stage else "its repository was read, and not taken on",
        "absent": f"not in the input of {there}",
    }[row["how"]]


def reason_of(pair: Pair, row: dict[str, Any], there: str) -> str:
    """What is known of why that stage did otherwise."""
    if row["how"] in ("dropped", "files") and row["stage"] in pair.causes:
        return f"{cut(row['stage'], 60)}: {pair.why(row['stage'])}"
    if row["how"] == "absent":
        read = [name for name, cause in pair.causes.items() if cause.read and not name.startswith("mining/")]
        return f"{', '.join(read[:3])}: other input" if read else ""
    return ""


def examples(pair: Pair, here: str, there: str, ids: list[str]) -> dict[str, tuple[str, str]]:
    """Of each document its name, and why it was dropped in the words of the stage, or whose duplicate it is."""
    wanted = ", ".join(f"({literal(name)})" for name in ids)
    pair.execute(f"CREATE OR REPLACE TEMP TABLE shown AS SELECT * FROM (VALUES {wanted}) AS v(id)")
    far = schema_of(there)
    names = {
        row["id"]: row["name"]
        for row in pair.rows(
            f"SELECT id, min(left({NAMED}, {NAME})) AS name FROM {schema_of(here)}corpus SEMI JOIN shown USING (id) "
            "GROUP BY id"
        )
    }
    details = {
        row["id"]: row["detail"]
        for row in pair.rows(
            f"SELECT id, min(left(detail, 200)) AS detail FROM {far}dropped SEMI JOIN shown USING (id) "
            f"WHERE stage IN (SELECT stage FROM fate SEMI JOIN shown USING (id)) GROUP BY id"
        )
    }
    pair.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE pairs AS
        SELECT id, arg_max(winner, (stage, winner)) AS winner, arg_max(jaccard, (stage, winner)) AS jaccard
        FROM {far}clusters SEMI JOIN shown USING (id) WHERE winner <> id GROUP BY id
        """
    )
    for row in pair.rows(
        f"""
        SELECT p.id, p.winner, p.jaccard, min(left({NAMED.replace("id)", "d.id)")}, {NAME})) AS name
        FROM pairs p LEFT JOIN (FROM {far}documents SEMI JOIN (SELECT winner AS id FROM pairs) USING (id)) d
        ON d.id = p.winner GROUP BY ALL
        """
    ):
        alike = f" ({row['jaccard']:.2f} alike)" if row["jaccard"] is not None else ""
        details[row["id"]] = f"a copy of {cut(row['name'] or row['winner'], 110)}{alike}"
    return {name: (cut(names.get(name, name), 110), cut(details.get(name), 170)) for name in ids}


def moved(pair: Pair, count: int) -> list[dict[str, Any]]:
    if not count:
        return []
    rows = pair.rows(
        "SELECT a.source AS old, b.source AS new, count(*) AS n FROM ours a JOIN theirs b USING (id) "
        "WHERE a.source <> b.source GROUP BY ALL ORDER BY n DESC, old, new"
    )
    body = [[f"{cut(row['old'], 50)} → {cut(row['new'], 50)}", number(row["n"])] for row in rows]
    return [
        table("In both, but of another source", ["From A to B", "Documents"], body[:FATES], len(body) - FATES)
    ]


def altered(pair: Pair, what: str, total: dict[str, int]) -> list[dict[str, Any]]:
    """Some documents whose texts differ, with the stage from which on they do."""
    if not total["altered"]:
        return []
    rows = pair.rows(
        "SELECT id FROM ours a JOIN theirs b USING (id) WHERE a.content <> b.content "
        f"ORDER BY hash(id), id LIMIT {ALTERED}"
    )
    body = []
    for row in rows:
        first, name, sizes = "", row["id"], []
        texts: list[dict[str, int]] = []
        for facts in pair.both:
            # One document at a time: DuckDB then leaves the texts of the others unread.
            found = facts.rows(
                f"SELECT stage, left({NAMED}, {NAME}) AS name, hash(text) AS mark, characters, final "
                f"FROM documents JOIN stages USING (stage) WHERE id = {literal(row['id'])}"
            )
            texts.append({one["stage"]: one["mark"] for one in found})
            sizes.append(next((one["characters"] for one in found if one["final"]), None))
            name = found[0]["name"] if found else name
        first = next(
            (s for s in pair.stages if s in texts[0] and s in texts[1] and texts[0][s] != texts[1][s]), ""
        )
        body.append(
            [cut(name, 110), number(sizes[0]), number(sizes[1]),
             told(f"from {cut(first, 60)} on", pair.why(first)) if first else "–"]
        )  # fmt: skip
    return [
        table(f"In both with another {what}", ["<Document", "Characters, A", "B", "<They differ"], body,
              total["altered"] - len(body), kind="wordy")
    ]  # fmt: skip


# What the corpus is made of


def makeup(pair: Pair) -> Section:
    asked = [
        ("Languages of pages", "languages", lambda row: row["language"] if row["kind"] == "page" else None, "chars",
         "characters"),
        ("Languages of files", "languages", lambda row: row["language"] if row["kind"] == "file" else None, "chars",
         "characters"),
        ("Domains", "domains", lambda row: row["domain"], "pages", "pages"),
        ("Licences", "bytes_by_licence", lambda row: row["licence"] or "nothing says", "bytes_kept", "bytes kept"),
    ]  # fmt: skip
    tables, quiet, answers = [], [], {}
    for title, question, key, column, unit in asked:
        if question not in answers:
            answers[question] = [facts.answer(question) for facts in pair.both]
        counts: dict[str, list[int]] = {}
        for side, rows in enumerate(answers[question]):
            for row in rows:
                if (name := key(row)) is not None:
                    two = counts.setdefault(name, [0, 0])
                    two[side] += int(row[column] or 0)
        if not any(counts.values()):
            continue
        if found := ranked(title, unit, counts):
            tables.append(found)
        else:
            quiet.append(title[0].lower() + title[1:])
    charts = [chart for chart in (lengths(pair),) if chart]
    if not tables and not charts:
        return same(f"The same in both: {', '.join(quiet)}.") if quiet else None
    note = f"The same in both: {', '.join(quiet)}." if quiet else None
    return {"charts": charts, "pairs": tables, "note": note}


def ranked(title: str, unit: str, counts: dict[str, list[int]]) -> dict[str, Any] | None:
    """The names whose numbers differ most, or None."""
    differ = sorted(((name, *two) for name, two in counts.items() if two[0] != two[1]),
                    key=lambda one: (-abs(one[2] - one[1]), one[0]))  # fmt: skip
    if not differ:
        return None
    most = abs(differ[0][2] - differ[0][1])
    body = [[cut(name, 60), short(a), short(b), delta(a, b, most)] for name, a, b in differ[:MOST]]
    alike = len(counts) - len(differ)
    note = f"{number(alike)} more {'is' if alike == 1 else 'are'} the same." if alike else ""
    return table(f"{title}, by {unit}", ["Name", "A", "B", "Difference"], body, len(differ) - MOST, note=note)


def lengths(pair: Pair) -> Any:
    series = {}
    for name, facts in zip("AB", pair.both, strict=True):
        rows = facts.rows(
            "SELECT floor(2 * log2(greatest(characters, 1)))::INTEGER AS bin, count(*) AS n FROM corpus GROUP BY 1 "
            "HAVING bin IS NOT NULL ORDER BY 1"
        )
        total = sum(row["n"] for row in rows)
        series[name] = [(2 ** (r["bin"] / 2), 2 ** ((r["bin"] + 1) / 2), r["n"] / total) for r in rows]
    if series["A"] == series["B"]:
        return None
    return histogram(
        "Length of documents, in characters", series, "characters", "share of the documents", log=True
    )


# Mining


def mining(pair: Pair) -> Section:
    found = [{(r["target"], r["round"]): r for r in facts.rows("FROM mining_rounds")} for facts in pair.both]
    keys = sorted({*found[0], *found[1]})
    if not keys:
        return None
    if found[0] == found[1]:
        return same("The mining rounds collected the same.")
    targets = list(dict.fromkeys(target for target, _ in keys))
    tables, charts = [], []
    body = []
    most = max((abs((found[1].get(k, {}).get("collected") or 0) - (found[0].get(k, {}).get("collected") or 0))
                for k in keys), default=0)  # fmt: skip
    for key in keys:
        a, b = (side.get(key, {}) for side in found)
        body.append(
            [f"{cut(key[0], 40)}, round {key[1]}", number(a.get("collected")), number(b.get("collected")),
             delta(a.get("collected"), b.get("collected"), most)]
            + [
                f"{percent(a.get(name))} → {percent(b.get(name))}"
                for name in ("already_collected", "precision", "recall")
            ]
            + [
                f"{two(a.get('cut'))} → {two(b.get('cut'))}",
                f"{number(a.get('paths_accepted'))} → {number(b.get('paths_accepted'))}",
            ]
        )  # fmt: skip
    stopped = [next((row["stopped"] for row in side.values() if row["stopped"]), None) for side in found]
    note = " ".join(
        f"{name} stopped because of this: {cut(why, 160)}."
        for name, why in zip("AB", stopped, strict=True)
        if why
    )
    columns = [
        "Round",
        "Collected, A",
        "B",
        "Difference",
        "Known before",
        "Precision",
        "Recall",
        "Cut",
        "Paths accepted",
    ]
    tables.append(table("Round by round", columns, body[:ROWS], len(body) - ROWS, note=note))
    for target in targets[:3]:
        rows = [
            (f"round {turn}", {name: side[key]["collected"] for name, side in zip("AB", found, strict=True)
                               if side.get(key, {}).get("collected") is not None})
            for key in keys if key[0] == target for turn in key[1:]
        ]  # fmt: skip
        charts.append(grouped_bars(f"Pages collected for {target}", rows, "pages", shown=short))
        rows = [
            (f"round {turn}", {name: side[key]["already_collected"] for name, side in zip("AB", found, strict=True)
                               if side.get(key, {}).get("already_collected") is not None})
            for key in keys if key[0] == target for turn in key[1:]
        ]  # fmt: skip
        charts.append(grouped_bars("Share of a round collected before", rows, "share of the round's pages",
                                   shown=percents))  # fmt: skip
    tables += collected(pair, targets) + accepted(found)
    return {"charts": [chart for chart in charts if chart], "tables": tables}


def two(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def collected(pair: Pair, targets: list[str]) -> list[dict[str, Any]]:
    """How far the loops collected the same pages in the end."""
    stages = [
        next(
            (name for name, manifest in facts.manifests.items() if isinstance(manifest.get("rounds"), list)),
            None,
        )
        for facts in pair.both
    ]
    if None in stages:
        return []
    wanted = ", ".join(map(literal, targets))
    sides = [
        f"SELECT DISTINCT target, id FROM {schema}documents "
        f"WHERE stage = {literal(stage or '')} AND target IN ({wanted})"
        for schema, stage in zip(("", "b.main."), stages, strict=True)
    ]
    rows = pair.rows(
        f"""
        SELECT target, count(a.id) AS a, count(b.id) AS b,
               count(*) FILTER (a.id IS NOT NULL AND b.id IS NOT NULL) AS in_both
        FROM (SELECT target, id, id AS mark FROM ({sides[0]})) x
        FULL JOIN (SELECT target, id, id AS mark FROM ({sides[1]})) y USING (target, id)
        CROSS JOIN LATERAL (SELECT x.mark AS id) a CROSS JOIN LATERAL (SELECT y.mark AS id) b
        GROUP BY target ORDER BY target
        """
    )
    body = [
        [cut(row["target"], 60), number(row["a"]), number(row["b"]), number(row["in_both"]),
         number(row["a"] - row["in_both"]), number(row["b"] - row["in_both"]),
         percent(row["in_both"] / (row["a"] + row["b"] - row["in_both"]))]
        for row in rows
    ]  # fmt: skip
    columns = ["Target", "A", "B", "In both", "Only in A", "Only in B", "In common"]
    return [table("Pages collected in the end", columns, body[:ROWS], len(body) - ROWS)] if body else []


def accepted(found: list[dict[tuple[str, int], dict[str, Any]]]) -> list[dict[str, Any]]:
    """The paths that the rounds of one side alone accepted, with the first of these rounds."""
    first: list[dict[tuple[str, str], int]] = []
    for side in found:
        paths: dict[tuple[str, str], int] = {}
        for (target, turn), row in sorted(side.items(), key=lambda item: item[0][1]):
            for path in row["accepted"] or []:
                paths.setdefault((target, path), turn)
        first.append(paths)
    differ = sorted({key for key in {**first[0], **first[1]} if (key in first[0]) != (key in first[1])})
    body = [
        [cut(key[1], 110), cut(key[0], 40), *(f"round {side[key]}" if key in side else "–" for side in first)]
        for key in differ
    ]  # fmt: skip
    shared = len(first[0].keys() & first[1].keys())
    title = "Paths that one of them accepted and the other did not"
    note = f"{many(shared, 'path')} in both." if shared else ""
    return (
        [
            table(
                title,
                ["<Path", "<Target", "A", "B"],
                body[:ROWS],
                len(body) - ROWS,
                note=note,
                folded=len(body) > 8,
            )
        ]
        if body
        else []
    )


# What is trained on


def tokens(pair: Pair) -> Section:
    stages = pair.shards
    if not any(stages):
        return None
    if stages[0] == stages[1] and stages[0] in pair.stages and stages[0] not in pair.causes:
        return same("The shards are the same, token for token.")
    sides = []
    for facts, stage in zip(pair.both, stages, strict=True):
        packed = {row["source"]: row for row in facts.answer("tokens_per_source") if row["stage"] == stage}
        manifest = facts.manifests.get(stage or "", {})
        mixture = {name: dict_of(row) for name, row in dict_of(manifest.get("mixture")).items()}
        filled = next((row for row in facts.answer("packing") if row["stage"] == stage), {})
        middle = {row["source"]: row["share"] for row in facts.answer("fim") if row["stage"] == stage}
        sides.append({"packed": packed, "mixture": mixture, "filled": filled, "fim": middle,
                      "shards": dict_of(manifest.get("shards"))})  # fmt: skip
    names = sorted(
        {name for side in sides for name in (*side["packed"], *side["mixture"]) if name is not None}
    )
    amounts = {n: [side["packed"].get(n, {}).get("tokens", 0) for side in sides] for n in names}
    names.sort(key=lambda name: (-max(amounts[name]), name))
    most = max((abs(b - a) for a, b in amounts.values()), default=0)
    body = [
        [cut(name, 60), *map(short, amounts[name]), delta(*amounts[name], most)]
        + [
            f"{shown(sides[0][part].get(name), key)} → {shown(sides[1][part].get(name), key)}"
            for part, key in (
                ("packed", "share"),
                ("mixture", "epochs"),
                ("mixture", "tokens"),
                ("fim", None),
            )
        ]
        for name in names
    ]
    columns = ["Source", "Packed, A", "B", "Difference", "Share", "Epochs", "Available", "Fill-in-the-middle"]
    tables = [table("Tokens of each source", columns, body[:ROWS], len(body) - ROWS)]
    figures = [packing(side) for side in sides]
    body = [
        [name, figures[0].get(name, "–"), figures[1].get(name, "–")]
        for name in {**figures[0], **figures[1]}
        if figures[0].get(name) != figures[1].get(name)
    ]
    if body:
        tables.append(table("Packing and tokenizer, where they differ", ["", "A", "B"], body))
    chart = grouped_bars(
        "Share of the tokens",
        [(name, {w: side["packed"].get(name, {}).get("share") or 0.0 for w, side in zip("AB", sides, strict=True)})
         for name in names[:8]],
        "share of all tokens",
        shown=percents,
    )  # fmt: skip
    return {"charts": [chart] if chart else [], "tables": tables}


def shown(row: Any, key: str | None) -> str:
    value = dict_of(row).get(key) if key else row
    if not isinstance(value, int | float) or isinstance(value, bool):
        return "–"
    return short(value) if key == "tokens" else f"{value:.2f}" if key == "epochs" else percent(value)


def packing(side: dict[str, Any]) -> dict[str, str]:
    filled, shards = side["filled"], side["shards"]
    found = {
        "tokenizer": cut(str(shards.get("tokenizer_fingerprint") or "–"), 8),
        "vocabulary": number(shards.get("vocabulary_size"))
        if isinstance(shards.get("vocabulary_size"), int)
        else "–",
    }
    if filled:
        found |= {
            "sequences": number(filled["sequences"]),
            "tokens in a sequence": number(filled["sequence_length"]),
            "tokens in all": number(filled["tokens"]),
            "of these in documents": percent(filled["tokens_of_documents"] / filled["tokens"], 2),
            "pieces in a sequence": f"{filled['pieces_per_sequence']:.2f}",
            "windows cut in two": number(filled["cuts"]),
        }
    return found


# The model


def training(pair: Pair) -> Section:
    """Curves over each other, and where they ended."""
    stages = ("run", "evaluation")
    curves: list[Line] = []
    held: dict[str, list[Line]] = {}
    ends: dict[str, list[float | None]] = {}
    for side, (name, facts) in enumerate(zip("AB", pair.both, strict=True)):
        (counted,) = facts.rows("SELECT max(step) AS steps FROM training WHERE source IS NULL")
        group = max(1, -(-(counted["steps"] or 1) // POINTS))
        rows = facts.rows(
            "SELECT max(step) AS step, avg(loss) FILTER (isfinite(loss)) AS loss FROM training WHERE source IS NULL "
            f"GROUP BY (step - 1) // {group} ORDER BY step"
        )
        curves.append(Line(name, [(row["step"], row["loss"]) for row in rows]))
        rows = facts.rows(
            "SELECT source, step, heldout_loss AS loss FROM training WHERE source IS NOT NULL ORDER BY source, step"
        )
        for source in dict.fromkeys(row["source"] for row in rows):
            line = Line(name, [(row["step"], row["loss"]) for row in rows if row["source"] == source])
            if line.finite:
                held.setdefault(source, []).append(line)
                ends.setdefault(f"held-out loss of {source}", [None, None])[side] = line.finite[-1][1]
        (last,) = facts.rows(
            "SELECT avg(loss) AS loss, median(tokens_per_second) AS speed, max(tokens) AS tokens, max(step) AS steps "
            "FROM (FROM training WHERE source IS NULL AND isfinite(loss) ORDER BY step DESC LIMIT 10)"
        )
        for what, key in (("training loss, mean of the last ten steps", "loss"), ("steps", "steps"),
                          ("tokens", "tokens"), ("tokens a second", "speed")):  # fmt: skip
            ends.setdefault(what, [None, None])[side] = last[key]
        for row in facts.rows("SELECT source, loss FROM evaluation ORDER BY source"):
            ends.setdefault(f"the finished model on {row['source']}", [None, None])[side] = row["loss"]
    ends = {name: values for name, values in ends.items() if values != [None, None]}
    if not ends:
        return None
    if all(one == other for one, other in ends.values()) and not any(
        stage in pair.causes for stage in stages
    ):
        return same("The runs are the same, to the last loss.")
    losses = {name for name in ends if "loss" in name or "model" in name}
    most = max(
        (abs(b - a) for name, (a, b) in ends.items() if name in losses and None not in (a, b)), default=0
    )
    body = []
    for name, (a, b) in sorted(ends.items(), key=lambda item: item[0] not in losses):
        if name in losses:
            body.append([cut(name, 80), nats(a), nats(b), delta(a, b, most, digits=3, better=-1)])
        else:
            body.append([name, short(a), short(b), delta(a, b, 0)])
    tables = [
        table("Where the runs ended", ["Value", "A", "B", "Difference"], body[:ROWS], len(body) - ROWS,
              note=ended(pair))
    ]  # fmt: skip
    charts = [line_chart("Training loss", curves, "step", "nats a token", shown=nats)]
    charts += [
        line_chart(f"Held-out loss of {source}", found, "step", "nats a token", shown=nats)
        for source, found in sorted(held.items())[:7]
    ]
    return {"charts": [chart for chart in charts if chart], "tables": tables}


def ended(pair: Pair) -> str:
    """A warning that is easily forgotten: a loss is a loss on something, in tokens of some tokenizer."""
    warnings = []
    marks = [
        {dict_of(m.get("shards")).get("tokenizer_fingerprint") for m in facts.manifests.values()} - {None}
        for facts in pair.both
    ]
    if marks[0] and marks[1] and marks[0] != marks[1]:
        warnings.append("The tokenizers differ, so that losses in nats a token are not of the same tokens.")
    if "heldout" in pair.causes:
        warnings.append("The held-out documents differ.")
    return " ".join(warnings)


def nats(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
