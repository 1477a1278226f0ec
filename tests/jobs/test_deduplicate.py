"""Near-duplicates on Spark: what goes, what stays and why, whatever the parts and the interruptions."""

import datetime
import itertools
import random
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corpus.errors import LodeError
from corpus.minhash import Formulas, ShingleSet
from corpus.schema import DOCUMENT, document_id
from jobs import deduplicate as module
from jobs.deduplicate import deduplicate, file_languages
from jobs.engine import open_dataset
from jobs.pipeline import stage_names
from jobs.recipe import CodeDeduplicateSection, DeduplicateSection, load_recipe
from jobs.worker import with_characters


def dataset(folder, parts, schema=DOCUMENT):
    folder.mkdir(parents=True)
    for number, rows in enumerate(parts):
        pq.write_table(pa.Table.from_pylist(rows, schema), folder / f"part-{number:05d}.parquet")
    return open_dataset(str(folder), ("id", "text"))


def page(url, text, **more):
    return {"id": document_id("s", url), "source": "s", "url": url, "text": text, **more}


def rows_of(folder):
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def kept(stage):
    return [row for path in stage.parts for row in pq.read_table(path).to_pylist()]


def words(seed, count=120):
    draw = random.Random(seed)
    return [f"word{draw.randrange(10**6)} = {draw.randrange(100)}" for _ in range(count)]


def text(seed, changed=0, count=120):
    """A text; `changed` of its words are others."""
    found = words(seed, count)
    for place in random.Random(f"{seed} {changed}").sample(range(count), changed):
        found[place] = f"other{seed}x{changed}x{place}"
    return " ".join(found)


SECTION = DeduplicateSection()


def test_urls_texts_and_near_duplicates_keep_the_longest(work, tmp_path):
    base = text(1)
    before = dataset(
        tmp_path / "in",
        [
            [
                page("https://a.org/1", base),
                page("https://a.org/2", base + " and a few words more"),
                page("https://a.org/3", "x" * 30),
            ],
            [
                page("https://b.org/1#top", "something else entirely, of some length"),
                page("https://b.org/4", "x" * 30),
            ],
            [
                page("https://b.org/1", "something else entirely, of some length, and newer"),
                page("https://c.org", "alone here"),
            ],
        ],
    )
    stage = deduplicate(work, "out", before, SECTION, 0)
    assert {row["url"] for row in kept(stage)} >= {"https://a.org/2", "https://b.org/1", "https://c.org"}
    assert stage.manifest["rows_out"] == len(kept(stage)) == 4
    assert stage.manifest["dropped"] == {"duplicate_text": 1, "duplicate_url": 1, "near_duplicate": 1}
    near = next(row for row in rows_of(tmp_path / "work/out/dropped") if row["reason"] == "near_duplicate")
    winner = document_id("s", "https://a.org/2")
    assert near["url"] == "https://a.org/1" and near["detail"].endswith(f"kept {winner}")
    (row,) = (r for r in rows_of(tmp_path / "work/out/clusters") if r["reason"] == "near_duplicate")
    assert row["winner"] == winner and 0.9 < row["jaccard"] < 1 and row["containment"] == 1
    assert not (tmp_path / "work/out/_scratch").exists()


def test_only_pairs_at_the_threshold_are_merged(work, tmp_path):
    # Of 116 shingles each change of one word costs up to five: the exact similarity decides, not the bands.
    rows = []
    for family in range(40):
        rows += [
            page(f"https://{family}.org/0", text(family)),
            page(f"https://{family}.org/1", text(family, 1 + family // 4)),
        ]
    stage = deduplicate(work, "out", dataset(tmp_path / "in", [rows[::2], rows[1::2]]), SECTION, 0)
    below = above = 0
    stayed = {row["url"] for row in kept(stage)}
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        sets = [ShingleSet.of_texts([row["text"]], "math", 5) for row in (first, second)]
        alone = {first["url"], second["url"]} <= stayed
        if sets[0].compare(sets[1])[0] >= 0.8:
            above += 1
            assert not alone
        else:
            below += 1
            assert alone
    assert above > 5 and below > 5


def test_pages_that_differ_in_their_formulas_stay(work, tmp_path):
    prose = " ".join(f"word{i}" for i in range(300))
    rows = [
        page(f"https://m.org/{n}", f"{prose} Solve $x^{n}+{n}=0$ and show $y_{n} \\neq {n * 7}$.")
        for n in range(2, 8)
    ]
    stage = deduplicate(work, "math", dataset(tmp_path / "in", [rows]), SECTION, 0)
    assert stage.manifest["rows_out"] == len(rows)
    as_prose = deduplicate(
        work, "prose", dataset(tmp_path / "in2", [rows]), DeduplicateSection(profile="prose"), 0
    )
    assert as_prose.manifest["rows_out"] == 1


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.text(st.sampled_from("ab 1+"), min_size=1, max_size=12), min_size=1, max_size=40))
def test_documents_that_are_not_alike_all_stay(work, tmp_path_factory, texts):
    # Also the shortest: they get one shingle, not none and not one for all. Texts that differ in blanks or have no
    # token at all are none of each other's duplicates either, unless their tokens are the same.
    tokens = {tuple(re.findall(r"\w+|\+", each)) for each in texts}
    blank = sum(not re.findall(r"\w+|\+", each) for each in texts)
    rows = [page(f"https://s.org/{n}", each) for n, each in enumerate(sorted(texts))]
    folder = tmp_path_factory.mktemp("short")
    stage = deduplicate(
        work, folder.name, dataset(folder / "in", [rows]), DeduplicateSection(jaccard=1, ngram=20), 0
    )
    assert stage.manifest["rows_out"] == len(tokens - {()}) + blank


def test_survivors_do_not_depend_on_parts_nor_on_their_order(work, tmp_path):
    draw = random.Random(3)
    rows = []
    for family in range(60):
        rows += [
            page(f"https://{family}.org/{n}", text(family, draw.randrange(6)))
            for n in range(draw.randrange(1, 5))
        ]
    # A hot bucket: near copies of one text, more than are all compared with each other.
    rows += [page(f"https://hot.org/{n}", f"{text('hot')} page{n}") for n in range(150)]
    survivors = []
    for parts in (1, 4, 16):
        draw.shuffle(rows)
        before = dataset(tmp_path / f"in{parts}", [rows[part::parts] for part in range(parts)])
        stage = deduplicate(work, f"out{parts}", before, SECTION, 0)
        survivors.append(sorted(row["id"] for row in kept(stage)))
        assert stage.manifest["deduplication"]["hot_buckets"] > 0
    assert survivors[0] == survivors[1] == survivors[2]
    assert sum(row["url"].startswith("https://hot.org") for row in kept(stage)) == 1


def test_a_killed_job_goes_on_and_ends_the_same(work, tmp_path, monkeypatch):
    rows = [page(f"https://{n}.org", text(n // 3, n % 3)) for n in range(60)]
    before = dataset(tmp_path / "in", [rows[:20], rows[20:40], rows[40:]])
    whole = deduplicate(work, "whole", before, SECTION, 0)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module.Deduplication, "fates", killed)
        with pytest.raises(KeyboardInterrupt):
            deduplicate(work, "out", before, SECTION, 0)
    signed = tmp_path / "work/out/signatures/part-00001.parquet"
    half = tmp_path / f"work/out/clusters/.part-00000.parquet.{'0' * 32}"  # of a worker killed while it wrote
    half.parent.mkdir(exist_ok=True)
    half.touch()
    made = signed.stat().st_mtime_ns
    stage = deduplicate(work, "out", before, SECTION, 0)
    assert signed.stat().st_mtime_ns == made and not half.exists()
    assert [row["id"] for row in kept(stage)] == [row["id"] for row in kept(whole)]
    assert stage.manifest["dropped"] == whole.manifest["dropped"]


def test_other_settings_begin_anew(work, tmp_path, monkeypatch):
    before = dataset(tmp_path / "in", [[page("https://a.org", text(1)), page("https://b.org", text(1, 2))]])
    with monkeypatch.context() as patched:
        patched.setattr(module.Deduplication, "fates", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            deduplicate(work, "out", before, DeduplicateSection(profile="prose"), 0)
    stage = deduplicate(work, "out", before, DeduplicateSection(jaccard=0.99), 0)
    assert stage.manifest["rows_out"] == 2 and stage.manifest["deduplication"]["profile"] == "math"


@pytest.mark.parametrize(
    "rule, stays",
    [
        ("longest", "https://c.org"),
        ("score", "https://b.org"),
        ("earliest", "https://a.org"),
        ("most_starred", "https://c.org"),
        ("score ASC, length(text)", "https://a.org"),
        ("stars + score DESC, url DESC", "https://b.org"),
        ("stars + score DESC NULLS FIRST, url DESC", "https://c.org"),
    ],
)
def test_who_stays_is_a_rule(work, tmp_path, rule, stays):
    schema = pa.schema([*DOCUMENT, ("score", pa.float64()), ("date", pa.string()), ("stars", pa.int64())])
    rows = [
        page("https://a.org", text(1), score=0.1, date="2019-05-01", stars=None),
        page("https://b.org", text(1, 1), score=0.9, date="2021-01-01T00:00:00Z", stars=3),
        page("https://c.org", text(1) + " longer", score=None, date=None, stars=70),
    ]
    before = dataset(tmp_path / "in", [rows[:1], rows[1:]], schema)
    stage = deduplicate(work, "out", before, DeduplicateSection(keep=rule), 0)
    assert [row["url"] for row in kept(stage)] == [stays]


def test_a_rule_without_its_column_is_a_sentence(work, tmp_path):
    with pytest.raises(LodeError, match="column 'score'"):
        deduplicate(
            work, "out", dataset(tmp_path / "in", [[page("a", "b")]]), DeduplicateSection(keep="score"), 0
        )


def crawls(tmp_path):
    """Three crawls: the second has pages of the first, the third of both, and each has copies of its own."""
    first = [page(f"https://one.org/{n}", text(n)) for n in range(6)] + [
        page("https://one.org/copy", text(0, 1))
    ]
    second = [page(f"https://two.org/{n}", text(n, 1)) for n in range(3)]
    second += [
        page("https://one.org/5", "another text at the old address"),
        page("https://two.org/new", text("new")),
    ]
    second += [page("https://two.org/new2", text("new") + " more"), page("https://two.org/same", text(0, 1))]
    third = [page("https://three.org/1", text(4, 2)), page("https://three.org/2", text("new", 1))]
    third += [page("https://three.org/3", text("last"))]
    return [
        dataset(tmp_path / f"in{n}", [rows[:3], rows[3:]]) for n, rows in enumerate((first, second, third), 1)
    ]


def test_crawl_after_crawl_only_what_is_new_stays(work, tmp_path):
    one, two, three = crawls(tmp_path)
    first = deduplicate(work, "first", one, SECTION, 0)
    assert first.manifest["dropped"] == {"near_duplicate": 1}
    second = deduplicate(work, "second", two, DeduplicateSection(against=[first.folder]), 0)
    # The copies within the new crawl go too: a comparison with an earlier one does not replace that within.
    assert [row["url"] for row in kept(second)] == ["https://two.org/new2"]
    assert second.manifest["dropped"] == {
        "earlier_duplicate_text": 2,
        "earlier_duplicate_url": 1,
        "earlier_near_duplicate": 2,
        "near_duplicate": 1,
    }
    clusters = {row["id"]: row for row in rows_of(tmp_path / "work/second/clusters")}
    lost = clusters[document_id("s", "https://two.org/1")]
    assert lost["winner"] == document_id("s", "https://one.org/1") and lost["corpus"] == first.folder
    # Equal to a document that went: what was kept for that one is named.
    stays = {row["id"] for row in kept(first)}
    assert clusters[document_id("s", "https://two.org/same")]["winner"] in stays
    # The second knows the first.
    third = deduplicate(work, "third", three, DeduplicateSection(against=[second.folder]), 0)
    assert [row["url"] for row in kept(third)] == ["https://three.org/3"]
    corpora = {row["corpus"] for row in rows_of(tmp_path / "work/third/clusters")}
    assert corpora == {first.folder, second.folder}


def test_the_same_by_bands_alone(work, tmp_path):
    one, two, _ = crawls(tmp_path)
    how = {"verify": False, "bands": 20, "rows": 5}
    first = deduplicate(work, "first", one, DeduplicateSection(**how), 0)
    second = deduplicate(work, "second", two, DeduplicateSection(**how, against=[first.folder]), 0)
    assert [row["url"] for row in kept(second)] == ["https://two.org/new2"]


def test_matches_may_be_reported_only(work, tmp_path):
    one, two, _ = crawls(tmp_path)
    first = deduplicate(work, "first", one, SECTION, 0)
    section = DeduplicateSection(against=[first.folder], earlier="report")
    second = deduplicate(work, "second", two, section, 0)
    assert second.manifest["dropped"] == {"duplicate_text": 1, "near_duplicate": 1}
    matches = {row["id"]: row for row in rows_of(tmp_path / "work/second/matches")}
    assert len(matches) == 5
    match = matches[document_id("s", "https://two.org/1")]
    assert match["winner"] == document_id("s", "https://one.org/1") and match["reason"] == "near_duplicate"
    assert matches[document_id("s", "https://one.org/5")]["reason"] == "duplicate_url"


def test_reports_name_copies_too_and_leave_the_new_crawl_as_it_is_alone(work, tmp_path):
    one = dataset(tmp_path / "in1", [[page("https://one.org", text(1))]])
    # The first two have the earlier text itself and stand for nobody else; the last two are one text.
    near = text(1, 2)
    rows = [page("https://a.org", text(1)), page("https://b.org", text(1, 1))]
    rows += [page("https://c.org", near), page("https://d.org", near)]
    two = dataset(tmp_path / "in2", [rows[:2], rows[2:]])
    first = deduplicate(work, "first", one, SECTION, 0)
    alone = deduplicate(work, "alone", two, SECTION, 0)
    section = DeduplicateSection(against=[first.folder], earlier="report")
    reported = deduplicate(work, "reported", two, section, 0)
    assert [row["id"] for row in kept(reported)] == [row["id"] for row in kept(alone)]
    matches = rows_of(tmp_path / "work/reported/matches")
    assert {row["id"]: row["reason"] for row in matches} == {
        row["id"]: "duplicate_text" if row["url"] == "https://a.org" else "near_duplicate" for row in rows
    }


def test_an_earlier_corpus_without_its_repeated_lines(work, tmp_path):
    menu = "Subscribe to our newsletter and follow us on all the usual networks"
    pages = [page(f"https://menu.org/{n}", menu) for n in range(4)]
    pages += [page(f"https://one.org/{n}", f"{menu}\n\n{text(n)}") for n in range(3)]
    one = dataset(tmp_path / "in1", [pages])
    # Of the first four nothing is left. None of them is another's winner, nor that of a page at its old address.
    section = DeduplicateSection(repeated_lines=3, keep="url")
    first = deduplicate(work, "first", one, section, 0)
    assert first.manifest["dropped"] == {"repeated_lines": 4} and first.manifest["rows_out"] == 3
    rows = [page(f"https://two.org/{n}", text(n, 1)) for n in range(3)]
    rows += [page("https://menu.org/1", text("at last"))]
    second = deduplicate(
        work, "second", dataset(tmp_path / "in2", [rows]), DeduplicateSection(against=[first.folder]), 0
    )
    assert [row["url"] for row in kept(second)] == ["https://menu.org/1"]
    winners = {row["id"]: row["winner"] for row in rows_of(tmp_path / "work/second/clusters")}
    assert winners == {
        document_id("s", f"https://two.org/{n}"): document_id("s", f"https://one.org/{n}") for n in range(3)
    }


def test_winners_are_where_they_are_said_to_be_and_folders_may_move(work, tmp_path):
    one = dataset(tmp_path / "in1", [[page("https://one.org", text(1))]])
    two = dataset(tmp_path / "in2", [[page("https://two.org", text(1, 1) + " longer")]])
    three = dataset(tmp_path / "in3", [[page("https://three.org", text(1, 1) + " longer")]])
    first = deduplicate(work, "first", one, SECTION, 0)
    second = deduplicate(work, "second", two, DeduplicateSection(against=[first.folder]), 0)
    third = deduplicate(work, "third", three, DeduplicateSection(against=[second.folder]), 0)
    (row,) = rows_of(tmp_path / "work/third/clusters")
    assert (row["winner"], row["corpus"]) == (document_id("s", "https://one.org"), first.folder)
    moved = tmp_path / "moved"
    (tmp_path / "work/first").rename(moved)
    with pytest.raises(LodeError, match=f"against {second.folder}: it was compared with {first.folder}"):
        deduplicate(work, "fourth", three, DeduplicateSection(against=[second.folder]), 0)
    section = DeduplicateSection(against=[str(moved), second.folder, f"{second.folder}/"])
    fourth = deduplicate(work, "fourth", three, section, 0)
    (row,) = rows_of(tmp_path / "work/fourth/clusters")
    assert (row["winner"], row["corpus"]) == (document_id("s", "https://one.org"), str(moved))
    assert fourth.fingerprint != third.fingerprint
    # Its text is read for the exact check, part by part; a part that is gone shifts no other.
    (moved / "part-00000.parquet").unlink()
    with pytest.raises(LodeError, match=r"part-00000.parquet is not there any more"):
        deduplicate(work, "fifth", three, DeduplicateSection(against=[str(moved)]), 0)


def test_corpora_that_cannot_be_compared_are_refused(work, tmp_path):
    one, two, _ = crawls(tmp_path)
    first = deduplicate(work, "first", one, SECTION, 0)
    with pytest.raises(LodeError, match="profile 'math', now it is 'prose'"):
        deduplicate(work, "second", two, DeduplicateSection(profile="prose", against=[first.folder]), 0)
    with pytest.raises(LodeError, match="not the folder of a finished"):
        deduplicate(work, "second", two, DeduplicateSection(against=[str(tmp_path)]), 0)


def test_repositories_are_sets_of_files(work, tmp_path):
    files = {"a.py": text("a"), "b.py": text("b"), "c.py": text("c")}

    def repository(name, order, **more):
        return [
            {
                "id": document_id("r", f"{name}/{path}"),
                "source": "r",
                "repository": name,
                "path": path,
                "text": (files | more)[path],
            }
            for path in order
        ]

    parts = [
        repository("first", ["a.py", "b.py", "c.py"]),
        repository("moved", ["c.py", "a.py", "b.py", "d.py"], **{"d.py": "x = 1"}),
        repository("other", ["a.py", "e.py", "f.py"], **{"e.py": text("e"), "f.py": text("f")}),
    ]
    torn = dataset(tmp_path / "torn", [parts[0] + parts[1][:2], parts[1][2:] + parts[2]])
    with pytest.raises(
        LodeError, match=r"part-00000.parquet: files of one repository lie here and in .*00001"
    ):
        deduplicate(work, "torn", torn, CodeDeduplicateSection(), 0, "repository")
    before = dataset(tmp_path / "in", [parts[0] + parts[1], parts[2]])
    stage = deduplicate(work, "out", before, CodeDeduplicateSection(), 0, "repository")
    assert {row["repository"] for row in kept(stage)} == {"moved", "other"}
    assert stage.manifest["dropped"] == {"near_duplicate": 3} and stage.manifest["rows_in"] == 10
    (row,) = rows_of(tmp_path / "work/out/clusters")
    assert (
        row["id"] == "first" and row["winner"] == "moved" and row["containment"] == 1 > row["jaccard"] > 0.9
    )


FILE = pa.schema(
    [
        *DOCUMENT,
        ("vendored", pa.bool_()),
        ("stars", pa.int64()),
        ("forks", pa.int64()),
        ("updated", pa.timestamp("us", "UTC")),
    ]
)
GPL = text("the licence", count=1500)


def repository(name, files, **more):
    """Rows of a repository; `files` gives the text of each path, None where it is vendored as `text(path)`."""
    return [
        {
            "id": document_id("r", f"{name}/{path}"),
            "source": "r",
            "repository": name,
            "path": path,
            "text": text(path.rpartition("/")[2]) if content is None else content,
            "vendored": content is None,
            **more,
        }
        for path, content in sorted(files.items())
    ]


def own(*names, folder=""):
    return {f"{folder}{name}": text(name) for name in names}


def outcome(folder):
    """For each repository that went the reason and what was kept."""
    return {row["id"]: (row["reason"], row["winner"]) for row in rows_of(folder / "clusters")}


def test_a_repository_within_another_goes_unless_it_is_vendored_or_better_known(work, tmp_path):
    letters = "abcdefghij"
    repositories = [
        repository("fork", own(*"abcd")),
        # Renamed folders, one file edited: near to the fork, and kept for it before both go.
        repository("edited", own(*"abc", folder="src/") | {"src/d": text("d", 1)}, stars=1),
        repository("monorepo", own(*letters, folder="packages/"), stars=1),
        repository("everything", own(*letters, "k", "l", "m", folder="all/"), forks=1),
        repository("famous", own(*"efg"), stars=100),
        repository("library", own("lib1", "lib2", "lib3")),
        repository("application", own("app1", "app2") | {f"_vendor/lib{n}": None for n in (1, 2, 3)}),
        repository("licensed", own("x1", "x2") | {"LICENSE": GPL}),
        repository("licensed too", own("y1", "y2") | {"COPYING.txt": GPL}),
        repository("tiny", {"a": text("a", count=40)}),
        repository("tiny within", {"a": text("a", count=40), "z": text("z")}),
    ]
    layouts = []
    for parts in (1, 3):
        random.Random(parts).shuffle(repositories)
        rows = [list(itertools.chain(*repositories[part::parts])) for part in range(parts)]
        before = dataset(tmp_path / f"in{parts}", rows, FILE)
        stage = deduplicate(work, f"out{parts}", before, CodeDeduplicateSection(), 0, "repository")
        layouts.append(outcome(tmp_path / f"work/out{parts}"))
    gone = {row["repository"]: row["files"] for row in kept(stage) if row["repository"] in layouts[1]}
    assert not gone and layouts[0] == layouts[1]
    contained = ("contained_repository", "everything")
    assert layouts[0] == {
        "fork": ("near_duplicate", "everything"),
        "edited": contained,
        "monorepo": contained,
    }
    facts = stage.manifest["deduplication"]
    assert facts["contained"] == 2 and facts["contained_but_better_known"] == 1
    assert stage.manifest["dropped"] == {"contained_repository": 14, "near_duplicate": 4}
    details = {row["path"]: row["detail"] for row in rows_of(tmp_path / "work/out3/dropped")}
    assert details["packages/a"] == "1.000 of it is in everything"
    assert re.fullmatch(r"cluster \d+ kept everything", details["a"])
    clusters = {row["id"]: row["cluster"] for row in rows_of(tmp_path / "work/out3/clusters")}
    assert len(set(clusters.values())) == 1


def test_a_repository_within_one_of_an_earlier_corpus_goes(work, tmp_path):
    one = dataset(
        tmp_path / "one", [repository("monorepo", own(*"abcdef")) + repository("small", own("s", "t"))], FILE
    )
    first = deduplicate(work, "first", one, CodeDeduplicateSection(), 0, "repository")
    rows = [repository("fork", own(*"abc"), stars=9), repository("larger", own(*"stuvwx"))]
    two = dataset(tmp_path / "two", rows, FILE)
    section = CodeDeduplicateSection(against=[first.folder])
    deduplicate(work, "second", two, section, 0, "repository")
    assert outcome(tmp_path / "work/second") == {"fork": ("earlier_contained_repository", "monorepo")}
    (row,) = rows_of(tmp_path / "work/second/clusters")
    assert row["corpus"] == first.folder
    reported = deduplicate(
        work, "reported", two, section.model_copy(update={"earlier": "report"}), 0, "repository"
    )
    assert reported.manifest["rows_dropped"] == 0


def whole_repositories(rows, jaccard, containment):
    """What goes, by comparing every pair of sets of n-grams written out, and who it is in, or near to."""
    token = re.compile(r"\w+|[^\w\s]")
    sets, about = {}, {}
    for row in rows:
        name = row["repository"]
        newest = -row["updated"].timestamp() if row["updated"] else 0
        *rest, size = about.get(name, (-(row["stars"] or 0), newest, 0))
        about[name] = (*rest, size - len(row["text"]))
        grams = sets.setdefault(name, set())
        if not row["vendored"] and not row["path"].endswith("LICENSE"):
            tokens = token.findall(row["text"])
            grams.update(tuple(tokens[at : at + 5]) for at in range(len(tokens) - 4))
    names = list(sets)
    alike = np.array(
        [[len(sets[a] & sets[b]) >= jaccard * len(sets[a] | sets[b]) for a in names] for b in names]
    )
    labels = scipy.sparse.csgraph.connected_components(alike, directed=False)[1]
    near = set()
    for label in set(labels):
        members = sorted((about[n], n) for n, at in zip(names, labels, strict=True) if at == label)
        near |= {name for _, name in members[1:]}
    inside = set()
    for name in sorted(set(names) - near, key=lambda n: (about[n][0], -len(sets[n]))):
        before = [n for n in names if n not in near | inside | {name}]
        before = [n for n in before if (about[n][0], -len(sets[n])) < (about[name][0], -len(sets[name]))]
        if any(len(sets[name] & sets[other]) >= containment * len(sets[name]) for other in before):
            inside.add(name)
    return near, inside


def test_repositories_that_go_are_those_of_comparing_all_with_all(work, tmp_path):
    draw = random.Random(0)
    repositories = []
    for number in range(80):
        pool = [f"f{draw.randrange(8)}-{n}" for n in range(30)]
        files = own(*draw.sample(pool, draw.randrange(2, 12)))
        if repositories and draw.random() < 0.5:  # a fork, of which some files are left out and others edited
            source = draw.choice(repositories)
            files = {f"moved/{row['path']}": row["text"] for row in source if draw.random() < 0.9}
            files |= own(*draw.sample(pool, draw.randrange(3)))
            for path in draw.sample(sorted(files), len(files) // 4):
                files[path] += text(f"{number} {path}", count=draw.randrange(1, 60))
        files |= {f"vendor/{name}": None for name in draw.sample(pool, draw.randrange(3))}
        files |= {"LICENSE": GPL} if draw.random() < 0.5 else {}
        when = draw.choice(
            [None, *(datetime.datetime(2020, 1, 1 + day, tzinfo=datetime.UTC) for day in range(28))]
        )
        stars = draw.choice([None, 0, 1])
        repositories.append(repository(f"{number:03}", files, stars=stars, updated=when))
    rows = list(itertools.chain(*repositories))
    near, inside = whole_repositories(rows, 0.8, 0.75)
    assert len(near) > 5 and len(inside) > 5
    parts = [list(itertools.chain(*repositories[part::4])) for part in range(4)]
    before = dataset(tmp_path / "in", parts, FILE)
    stage = deduplicate(work, "out", before, CodeDeduplicateSection(bands=40, rows=3), 0, "repository")
    found = outcome(tmp_path / "work/out")
    assert {name for name, (reason, _) in found.items() if reason == "near_duplicate"} == near
    assert {name for name, (reason, _) in found.items() if reason == "contained_repository"} == inside
    # Whole or not at all.
    stayed = [row["id"] for row in kept(stage)]
    assert stayed == [row["id"] for part in parts for row in part if row["repository"] not in near | inside]
    assert {winner for _, winner in found.values()} <= {row["repository"] for row in kept(stage)}


def test_files_of_some_languages_are_compared_one_by_one(work, tmp_path):
    page = text("page", count=300)
    rows = [
        {
            "id": f"{name}{path}",
            "source": "r",
            "repository": name,
            "path": path,
            "language": language,
            "text": content,
            "stars": stars,
        }
        for name, stars in (("a", 1), ("b", 5))
        for path, language, content in (
            ("main.py", "Python", text("same")),
            ("index.html", "HTML", f"{page} {name}"),
            ("copy/what", None, text("what")),
            ("what", None, text("what")),
        )
    ]
    before = dataset(tmp_path / "in", [rows[:2], rows[2:]], FILE)
    for number, (chosen, gone) in enumerate(
        [(["HTML", "Ruby"], {"aindex.html"}), ("unordered", {"aindex.html", "acopy/what", "awhat", "bwhat"})]
    ):
        section = CodeDeduplicateSection(file_languages=chosen)
        languages = file_languages(section)
        stage = deduplicate(work, f"out{number}", before, section, 0, languages=languages)
        assert {row["id"] for row in rows} - {row["id"] for row in kept(stage)} == gone


def test_a_recipe_has_a_stage_for_files_that_are_compared_one_by_one():
    stages = [
        stage_names(load_recipe("quickstart", [f"code.deduplicate.file_languages={value}"]))
        for value in ("[]", '"unordered"')
    ]
    assert set(stages[1]) - set(stages[0]) == {"code_files_deduplicated"}
    with pytest.raises(LodeError, match="file_languages"):
        load_recipe("quickstart", ['code.deduplicate.file_languages="ordered"'])


def test_lines_that_a_crawl_repeats_go_everywhere(work, tmp_path):
    menu = "Subscribe to our newsletter and follow us on all the usual networks"
    rows = [
        page(f"https://a.org/{n}", f"{text(n, count=30)}\n\n{menu}\n\n{text(f'b{n}', count=30)}")
        for n in range(6)
    ]
    rows += [page("https://a.org/empty", menu), page("https://b.org", text("alone"))]
    section = DeduplicateSection(repeated_lines=5)
    stage = deduplicate(work, "out", dataset(tmp_path / "in", [rows[:4], rows[4:]]), section, 0)
    assert all(menu not in row["text"] for row in kept(stage))
    assert stage.manifest["dropped"] == {"repeated_lines": 1} and stage.manifest["rows_out"] == 7
    lines = rows_of(tmp_path / "work/out/lines")
    assert sum(row["times"] for row in lines if row["line"] == menu) == 7


def test_parts_of_any_kind(work, tmp_path):
    large = pa.schema([("id", pa.large_string()), ("text", pa.large_string()), ("more", pa.int64())])
    rows = [{"id": "same", "text": text(n), "more": n} for n in range(3)]
    rows += [{"id": "null", "text": None}, {"id": "empty", "text": ""}, {"id": "copy", "text": text(1)}]
    before = dataset(tmp_path / "in", [[], rows[:2], rows[2:], []], large)
    stage = deduplicate(work, "out", before, DeduplicateSection(keep="id"), 0)
    # An id is no address: what has the same one may be another document.
    assert [row["text"] for row in kept(stage)] == [text(0), text(2), "", text(1)]
    assert stage.manifest["dropped"] == {"duplicate_text": 2}
    assert stage.schema == large
    nothing = deduplicate(work, "nothing", dataset(tmp_path / "in2", [[]]), SECTION, 0)
    assert nothing.manifest["rows_in"] == 0 and nothing.schema == with_characters(DOCUMENT)


def test_documents_without_a_name_are_refused(work, tmp_path):
    before = dataset(tmp_path / "in", [[page("a", "b")], [{"id": None, "text": "c"}]])
    with pytest.raises(LodeError, match=r"part-00001.parquet: a row has no 'id'"):
        deduplicate(work, "out", before, SECTION, 0)


def brute_force(rows, section):
    """Indices of the documents that stay, by comparing every pair."""
    texts = [row["text"] or "" for row in rows]
    sets = [ShingleSet.of_texts([each], section.profile, section.ngram) for each in texts]
    formulas = Formulas.of_documents(texts)
    minhash = module.minhash_of(section, 0)
    bands = minhash.band_keys(minhash.signatures(texts))

    def alike(i, j):
        if texts[i] == texts[j] or (rows[i]["url"] and rows[i]["url"] == rows[j]["url"]):
            return True
        if not len(sets[i].hashes) or not len(sets[j].hashes):
            return False
        if not section.verify:
            return (bands[i] == bands[j]).any()
        agree = section.profile != "math" or formulas[i].agree(formulas[j])
        return sets[i].compare(sets[j])[0] >= section.jaccard and agree

    pairs = [pair for pair in itertools.combinations(range(len(rows)), 2) if alike(*pair)]
    graph = scipy.sparse.coo_array((np.ones(len(pairs)), np.array(pairs).T), (len(rows), len(rows)))
    labels = scipy.sparse.csgraph.connected_components(graph, directed=False)[1]
    order = sorted(range(len(rows)), key=lambda i: (rows[i]["text"] is None, -len(texts[i]), rows[i]["id"]))
    return {label: i for i, label in ((i, labels[i]) for i in reversed(order))}.values()


@pytest.mark.parametrize(
    "section",
    [
        # Of one row each, so many bands that no pair is missed.
        DeduplicateSection(bands=60, rows=1, ngram=2),
        DeduplicateSection(bands=60, rows=1, profile="prose", ngram=1, jaccard=0.6),
        DeduplicateSection(bands=8, rows=3, verify=False, profile="code"),
    ],
)
def test_survivors_are_those_of_comparing_all_with_all(work, tmp_path, section):
    draw = random.Random(section.ngram)
    rows = []
    for number in range(60):
        tokens = words(draw.randrange(6), 25)
        for _ in range(draw.randrange(6)):
            tokens[draw.randrange(25)] = f"other{draw.randrange(99)} $x^{draw.randrange(3)}$"
        shortened = tokens[: draw.choice([0, 1, 1, 2, *[25] * 12])]
        address = draw.choice(
            [None, "", f"https://a.org/{draw.randrange(30)}", *[f"https://b.org/{number}"] * 3]
        )
        rows.append(
            {"id": f"id{number:02}", "url": address, "text": " ".join(shortened) or draw.choice([None, ""])}
        )
    before = dataset(tmp_path / "in", [rows[::3], [], rows[1::3], rows[2::3]])
    stage = deduplicate(work, "out", before, section, 0)
    expected = sorted(rows[i]["id"] for i in brute_force(rows, section))
    assert sorted(row["id"] for row in kept(stage)) == expected and 5 < len(expected) < 50
    clusters = rows_of(tmp_path / "work/out/clusters")
    assert len(clusters) == len(rows) - len(expected)
    assert {row["winner"] for row in clusters} <= set(expected)


def test_real_near_duplicates_are_found(work, tmp_path, shared_data):
    from corpus.extract import extract_pages

    files = sorted((shared_data / "web").glob("dev-*.warc.gz"))[:1]
    found = [pa.Table.from_batches(list(extract_pages([str(file)], "web"))) for file in files]
    folder = tmp_path / "in"
    folder.mkdir()
    for number, rows in enumerate(found):
        stays = rows.filter(rows["reason"].is_null()).drop_columns(["reason", "detail"])
        pq.write_table(stays, folder / f"part-{number:05d}.parquet")
    stage = deduplicate(work, "out", open_dataset(str(folder)), SECTION, 0)
    manifest = stage.manifest
    assert manifest["rows_in"] == manifest["rows_out"] + manifest["rows_dropped"]
    assert manifest["dropped"]["duplicate_url"] > 0 and manifest["dropped"]["near_duplicate"] > 0
    assert min(row["jaccard"] or 1 for row in rows_of(tmp_path / "work/out/clusters")) >= 0.8


def test_real_releases_are_found_and_what_is_vendored_stays(work, tmp_path, shared_data):
    from corpus.repositories import read_repository

    names = (
        "requests-2.31.0",
        "requests-2.32.3",
        "axios-1.6.8",
        "axios-1.7.2",
        "pip-24.0",
        "rich-13.7.1",
        "thor-1.2.1",
    )
    parts = [
        [
            {**row, "vendored": row["vendored"] or "/_vendor/" in row["path"]}
            for row in read_repository(str(shared_data / "repos" / f"{name}.tar.gz"), "s")
            if row["reason"] is None and not row["path"].startswith("dist/")
        ]
        for name in names
    ]
    rows = [[{name: row.get(name) for name in FILE.names} for row in part] for part in parts]
    stage = deduplicate(
        work, "out", dataset(tmp_path / "in", rows, FILE), CodeDeduplicateSection(), 0, "repository"
    )
    assert outcome(tmp_path / "work/out") == {
        "requests-2.31.0": ("near_duplicate", "requests-2.32.3"),
        "axios-1.6.8": ("near_duplicate", "axios-1.7.2"),
    }
    assert [row["id"] for row in kept(stage)] == [
        row["id"] for number in (1, 3, 4, 5, 6) for row in parts[number]
    ]
