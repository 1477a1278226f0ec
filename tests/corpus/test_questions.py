"""The named questions: each answer is computed again from the files with pyarrow and numpy, or by hand."""

import collections
import json
import math
import pathlib
import shutil

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.inspect import open_work, query, statistic, statistics
from corpus.schema import DOCUMENT, with_verdict
from jobs.worker import write_part
from tests.tiny_work import PAGE, TinyWork, parquet

FINAL = ("deduplicated", "repositories")


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> pathlib.Path:
    return TinyWork(tmp_path_factory.mktemp("questions")).build()


def ask(path, name):
    columns, rows = statistic(open_work(str(path), 2), name)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def rows_of(work, *folders):
    return [row for folder in folders for file in sorted((work / folder).glob("*.parquet"))
            for row in pq.read_table(file).to_pylist()]  # fmt: skip


def spans_of(work):
    return [span | {"file": file.name} for file in sorted((work / "shards").glob("*.parquet"))
            for row in pq.read_table(file).to_pylist() for span in row["documents"]]  # fmt: skip


def documents(tmp_path, texts, sources=None):
    rows = [{"id": f"{k:032x}", "text": text, "source": (sources or ["s"])[k % len(sources or "s")]}
            for k, text in enumerate(texts)]  # fmt: skip
    parquet(tmp_path / "part-00000.parquet", rows, DOCUMENT)
    return tmp_path


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=40))
def test_lengths_are_those_of_numpy(tmp_path_factory, texts):
    (found,) = ask(documents(tmp_path_factory.mktemp("lengths"), texts), "lengths")
    lengths = [len(text) for text in texts]
    quantiles = np.quantile(lengths, [0.1, 0.5, 0.9], method="inverted_cdf").tolist()
    assert [found["p10"], found["median"], found["p90"]] == quantiles
    assert (found["documents"], found["chars"], found["longest"]) == (len(texts), sum(lengths), max(lengths))
    assert abs(found["mean"] - sum(lengths) / len(texts)) <= 0.5


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=40))
def test_bins_of_lengths_double(tmp_path_factory, texts):
    sources = ["a", "b.c"]
    found = ask(documents(tmp_path_factory.mktemp("bins"), texts, sources), "length_histogram")
    bins = collections.Counter(
        (sources[k % 2], 1 << (len(text).bit_length() - 1) if text else 0) for k, text in enumerate(texts)
    )
    assert {(row["source"], row["from_chars"]): row["documents"] for row in found} == bins
    assert sum(row["chars"] for row in found) == sum(map(len, texts))


def test_characters_are_counted_where_a_stage_did_not_write_them(work):
    """The folder was written without the column."""
    assert "characters" not in pq.read_schema(work / "pages" / "part-00000.parquet").names
    for view in ("documents", "corpus", "repositories"):
        found = query(open_work(str(work), 2), f"SELECT text, characters FROM {view}")[1]
        assert found and all(len(text) == characters for text, characters in found)


def test_characters_are_read_and_not_counted_where_a_stage_wrote_them(tmp_path):
    row = dict.fromkeys(DOCUMENT.names, "déjà vu 🙂") | {"reason": None, "detail": None}
    batch = pa.RecordBatch.from_pylist([row], with_verdict(DOCUMENT))
    write_part(str(tmp_path), 0, iter([batch]), DOCUMENT)
    connection = open_work(str(tmp_path), 2)
    assert query(connection, "SELECT characters, length(text) FROM documents")[1] == [(9, 9)]
    plan = query(connection, "EXPLAIN SELECT sum(characters) FROM documents")[1][0][1]
    assert "characters" in plan and "text" not in plan


def test_languages(work):
    expected: dict[tuple[str, str], list[int]] = collections.defaultdict(lambda: [0, 0])
    for row in rows_of(work, "deduplicated"):
        expected["page", row["language"]][0] += 1
        expected["page", row["language"]][1] += len(row["text"])
    for row in rows_of(work, "repositories"):
        for file in row["files"]:
            expected["file", file["language"]][0] += 1
            expected["file", file["language"]][1] += file["end"] - file["start"]
    found = ask(work, "languages")
    assert {(r["kind"], r["language"]): [r["documents"], r["chars"]] for r in found} == expected


def test_domains_with_the_share_that_stayed(work):
    crawled = collections.Counter(row["domain"] for row in rows_of(work, "pages"))
    kept = collections.Counter(row["domain"] for row in rows_of(work, "deduplicated"))
    found = ask(work, "domains")
    assert {row["domain"]: (row["pages"], row["crawled"]) for row in found} == {
        domain: (pages, crawled[domain]) for domain, pages in kept.items()
    }
    assert sum(row["chars"] for row in found) == sum(
        len(row["text"]) for row in rows_of(work, "deduplicated")
    )


def test_formulas_by_domain_and_by_target(work):
    rows = rows_of(work, "deduplicated")
    (found,) = ask(work, "formulas_by_domain")
    formulas = [row["formulas"] for row in rows]
    assert (found["domain"], found["pages"], found["formulas"]) == ("a.example", len(rows), sum(formulas))
    assert (found["with_formulas"], found["per_page"]) == (sum(f > 0 for f in formulas), np.mean(formulas))
    (found,) = ask(work, "formulas")
    assert (found["target"], found["pages"], found["mean"]) == ("math", len(rows), np.mean(formulas))


def test_scores_say_which_bins_are_collected(work):
    assert [(r["round"], r["target"], r["at_least"], r["pages"], r["cut"]) for r in ask(work, "scores")] == [
        (1, "math", 0.2, 1, 0.5),
        (2, "math", 0.5, 1, 0.5),
    ]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_clusters(tmp_path_factory, sizes):
    """Clusters with so many members that went; one stays of each."""
    folder = tmp_path_factory.mktemp("clusters")
    tiny = TinyWork(folder)
    pages = [
        {"id": f"kept{k}", "text": "t", "source": "s", "url": f"https://a.example/{k}"}
        for k in range(len(sizes))
    ]
    gone = [(k, n) for k, size in enumerate(sizes) for n in range(size)]
    before = [
        {"id": f"gone{k}-{n}", "text": "t", "source": "s", "url": f"https://b.example/{k}/{n}"}
        for k, n in gone
    ]
    parquet(folder / "pages" / "part-00000.parquet", pages + before, PAGE)
    tiny.manifest("pages", len(pages + before), {}, [])
    parquet(folder / "deduplicated" / "part-00000.parquet", pages, PAGE)
    fates = [{"place": n, "id": f"gone{k}-{n}", "reason": "near_duplicate", "cluster": k, "winner": f"kept{k}",
              "corpus": None, "jaccard": 0.8 + n / 100, "containment": 0.9} for k, n in gone]  # fmt: skip
    schema = pq.read_schema(TinyWork(folder / "other").build() / "deduplicated/clusters/part-00000.parquet")
    shutil.rmtree(folder / "other")
    parquet(folder / "deduplicated" / "clusters" / "part-00000.parquet", fates, schema)
    tiny.manifest("deduplicated", len(pages + before), {"near_duplicate": len(before)}, ["pages"])
    counts = collections.Counter(size + 1 for size in sizes)
    assert {row["members"]: row["clusters"] for row in ask(folder, "duplicates")} == counts
    largest = ask(folder, "largest_clusters")
    expected = sorted(enumerate(sizes), key=lambda pair: (-pair[1], f"kept{pair[0]}"))
    assert [(row["id"], row["members"]) for row in largest] == [
        (f"kept{k}", size + 1) for k, size in expected
    ]
    assert all(row["kept"] == f"https://a.example/{row['id'].removeprefix('kept')}" for row in largest)
    assert all(row["for_example"].startswith("https://b.example/") for row in largest)
    assert all(row["near"] == row["members"] - 1 for row in largest)
    examples = ask(folder, "near_duplicate_examples")
    alike = sorted((0.8 + n / 100, f"gone{k}-{n}") for k, n in gone)[:10]
    assert [row["id"] for row in examples] == [name for _, name in alike]
    assert all(
        row["winner"].split("kept")[1] == row["id"].removeprefix("gone").split("-")[0] for row in examples
    )
    assert all(row["kept"] == f"https://a.example/{row['winner'].removeprefix('kept')}" for row in examples)
    assert all(row["dropped"].startswith("https://b.example/") for row in examples)


def test_tokens_of_documents_and_of_shards(work):
    spans = spans_of(work)
    tokens: collections.Counter[tuple[str, str]] = collections.Counter()
    for span in spans:
        tokens[span["source"], span["id"]] += span["length"]
    bins = collections.Counter((source, 2 ** int(math.log2(n))) for (source, _), n in tokens.items())
    found = ask(work, "token_histogram")
    assert {(r["source"], r["from_tokens"]): r["documents"] for r in found} == bins
    mixture = ask(work, "mixture")
    total = sum(span["length"] for span in spans)
    for row in mixture:
        mine = sum(
            span["length"] for span in spans if (span["file"], span["source"]) == (row["file"], row["source"])
        )
        assert (row["tokens"], row["share"]) == (mine, mine / total)


def test_the_mixture_stands_beside_what_was_asked(tmp_path):
    folder = TinyWork(tmp_path).build()
    path = folder / "shards" / "_lode.json"
    manifest = json.loads(path.read_text())
    for source, asked in (("math", 0.25), ("shelf", 0.75)):
        manifest["mixture"][source]["asked"] = asked
    manifest["mixture"]['a.b "quoted"'] = {"asked": 0.0}
    path.write_text(json.dumps(manifest))
    assert [(row["source"], row["asked"]) for row in ask(folder, "mixture")] == [
        ("math", 0.25),
        ("shelf", 0.75),
    ]


def test_fill_in_the_middle_is_what_the_manifest_counted(tmp_path):
    folder = TinyWork(tmp_path).build()
    path = folder / "shards" / "_lode.json"
    manifest = json.loads(path.read_text())
    manifest["shards"]["fim_windows"] = 3
    manifest["mixture"]["shelf"]["fim"] = {"asked": 0.5, "rate": 0.3, "of": 10, "cut": 3, "too_long": 0}
    path.write_text(json.dumps(manifest))
    assert [(r["source"], r["windows"], r["share"]) for r in ask(folder, "fim")] == [
        ("math", 0, 0.0),
        ("shelf", 3, 0.3),
    ]


def test_packing(work):
    (row,) = ask(work, "packing")
    spans = spans_of(work)
    assert row["tokens"] == sum(span["length"] for span in spans) == row["sequence_length"] == 8
    assert (row["sequences"], row["windows_completed"], row["cuts"]) == (1, 2, 0)
    assert (row["pieces_per_sequence"], row["tokens_of_documents"]) == (len(spans), 8)


def test_samples_are_two_of_each_source_and_one_with_formulas(tmp_path):
    rows = [{"id": f"{k:02d}", "text": f"text {k}", "source": "ab"[k % 2], "url": f"https://a.example/{k}",
             "formulas": int(k in (8, 11))} for k in range(12)]  # fmt: skip
    parquet(tmp_path / "part-00000.parquet", rows, PAGE)
    found = ask(tmp_path, "samples")
    assert [(row["source"], row["id"]) for row in found] == [
        ("a", "08"), ("a", "00"), ("a", "02"), ("b", "11"), ("b", "01"), ("b", "03")
    ]  # fmt: skip
    assert all(row["text"] == f"text {int(row['id'])}" and row["chars"] == len(row["text"]) for row in found)


def test_licences(work):
    kept = {row["id"] for row in rows_of(work, "code_rules")}
    sizes = collections.Counter()
    for row in rows_of(work, "files"):
        if row["id"] in kept:
            sizes[row["licence"]] += row["size"] or 0
    assert {row["licence"]: row["bytes_kept"] for row in ask(work, "bytes_by_licence")} == sizes


def test_loss(work):
    rows = [row for row in rows_of(work, "run") if row["source"] == "math"]
    (found,) = ask(work, "loss")
    assert (found["first"], found["last"]) == (rows[0]["heldout_loss"], rows[-1]["heldout_loss"])


def test_each_question_can_be_read_alone():
    """A comment that says what is asked, then one statement over the views and nothing else."""
    for name, question in statistics().items():
        assert question.sql.startswith("-- ") and len(duckdb.extract_statements(question.sql)) == 1, name
        assert max(map(len, question.sql.splitlines()[1:])) <= 120, name


def test_documents_as_they_were_read(work):
    """`raw`: what the first stages hold; of one dataset alone, all of it."""
    found = query(open_work(str(work), 2), "SELECT DISTINCT stage FROM raw ORDER BY stage")[1]
    assert found == [("files",), ("pages",)]
    assert query(open_work(str(work / "mined"), 2), "SELECT DISTINCT stage FROM raw")[1] == [("mined",)]
