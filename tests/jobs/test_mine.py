"""The mining loop on a small crawl of words drawn at random, with mathematics and code planted by domain and folder."""

import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.errors import LodeError
from corpus.schema import DOCUMENT, document_id
from jobs.engine import Work, open_dataset
from jobs.mine import mine
from jobs.progress import Progress
from jobs.recipe import MineSection
from tests.jobs.conftest import digests, environment

# What the command does, without its options: a loop in a process of its own, to be killed or run on other cores.
LOOP = """
import sys
from jobs.engine import Work, open_dataset
from jobs.mine import mine
from jobs.progress import Progress
from jobs.recipe import MineSection
from jobs.spark import Spark
master, folder, pages, section = sys.argv[1:]
spark = Spark(master, {}, folder + "-logs/spark.log")
with Work(folder, spark, Progress(quiet=True)) as work:
    mine(work, open_dataset(pages), MineSection.model_validate_json(section), 7)
spark.stop()
"""
# Words drawn at random make no phrases to learn from.
CLASSIFIER = {"dim": 16, "bucket": 2000, "min_count": 1, "passes": 4000, "word_ngrams": 1}
MATH, CODE, OTHER = "mathematics", "code", "other"
# Domains: name, pages, and the topic of each folder. Thirty-four, twelve of them with something to find.
SITES = [(f"math{n}.example", 12, {"": MATH}) for n in range(5)]
SITES += [(f"code{n}.example", 12, {"": CODE}) for n in range(5)]
SITES += [("mixed0.example", 24, {"algebra": MATH, "news": OTHER, "sport": OTHER})]
SITES += [("mixed1.example", 24, {"manual": CODE, "shop": OTHER})]
SITES += [(f"other{n}.example", 10, {"": OTHER}) for n in range(22)]
SEEDS = {MATH: ("math0.example", "math1.example"), CODE: ("code0.example", "code1.example")}


def crawl() -> list[dict]:
    """Pages of 60 words, most of them their topic's; `other` is ten topics, one to a domain."""
    draw = random.Random(5)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(draw.choices(letters, k=draw.randrange(4, 9))) for _ in range(12 * 60 + 300)]
    common, topics = words[:300], [words[at : at + 60] for at in range(300, len(words), 60)]
    rows = []
    for number, (domain, pages, folders) in enumerate(SITES):
        for page in range(pages):
            folder, topic = sorted(folders.items())[page % len(folders)]
            own = topics[{MATH: 0, CODE: 1}.get(topic, 2 + number % 10)]
            text = " ".join(draw.choice(own if draw.random() < 0.6 else common) for _ in range(60))
            url = f"https://{domain}/{folder or 'page'}/{page}.html"
            rows.append(
                dict.fromkeys(DOCUMENT.names)
                | {
                    "id": document_id("test", url),
                    "text": text,
                    "source": "test",
                    "url": url,
                    "domain": domain,
                }
                | {"planted": topic}
            )
    return rows


def write_pages(folder: pathlib.Path, rows: list[dict], parts: int) -> str:
    folder.mkdir()
    schema = pa.schema([*DOCUMENT, ("planted", pa.string())])
    for part in range(parts):
        pq.write_table(
            pa.Table.from_pylist(rows[part::parts], schema),
            folder / f"part-{part:05d}.parquet",
            row_group_size=37,
        )
    return str(folder)


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> str:
    return write_pages(tmp_path_factory.mktemp("crawl") / "pages", crawl(), 3)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> dict[str, str]:
    """Files of seeds; those of code have an address and a text, and nothing more."""
    folder = tmp_path_factory.mktemp("seeds")
    for target, domains in SEEDS.items():
        rows = [row for row in crawl() if row["domain"] in domains]
        columns = DOCUMENT.names if target == MATH else ["url", "text"]
        table = pa.Table.from_pylist(rows, DOCUMENT).select(columns)
        pq.write_table(table, folder / f"{target}.parquet")
    return {target: str(folder / f"{target}.parquet") for target in SEEDS}


def section_of(seeds: dict[str, str], **changes) -> MineSection:
    values = {"targets": {target: {"seeds": [path]} for target, path in seeds.items()}}
    return MineSection(
        **{**values, "classifier": CLASSIFIER, "growth": 2.0, "max_rounds": 3} | {"stop_share": 1.0} | changes
    )


def run(spark, folder: pathlib.Path, pages: str, section: MineSection) -> list[dict]:
    """Mine in `folder`, and the rows of `mined`."""
    with Work(str(folder), spark, Progress(quiet=True)) as work:
        return rows_of(mine(work, open_dataset(pages), section, 7).folder)


def rows_of(folder: str) -> list[dict]:
    rows = pa.concat_tables(
        pq.read_table(path) for path in sorted(pathlib.Path(folder).glob("part-*.parquet"))
    )
    return rows.to_pylist()


def manifest(folder: pathlib.Path, stage: str) -> dict:
    return json.loads((folder / stage / "_lode.json").read_text())


@pytest.fixture(scope="module")
def finished(spark, pages, seeds, tmp_path_factory) -> pathlib.Path:
    """The work folder of an undisturbed loop of three rounds for two targets, on two cores."""
    folder = tmp_path_factory.mktemp("finished") / "work"
    run(spark, folder, pages, section_of(seeds))
    return folder


def test_two_targets_are_found_in_one_pass_on_domains_that_gave_no_seed(finished):
    found = {row["url"]: row["target"] for row in rows_of(str(finished / "mined"))}
    for target in SEEDS:
        wanted = {row["url"] for row in crawl() if row["planted"] == target}
        collected = {url for url, name in found.items() if name == target}
        seeds = {row["url"] for row in crawl() if row["domain"] in SEEDS[target]}
        assert seeds < wanted and len(wanted - seeds) == (44 if target == MATH else 48)
        assert len(wanted & collected) >= 0.9 * len(wanted), target
        assert len(wanted & collected) >= 0.9 * len(collected), target
        rounds = [entry[target] for entry in manifest(finished, "mined")["rounds"]]
        assert [entry["known"] for entry in rounds] == sorted(entry["known"] for entry in rounds)
        # A round that may collect twice what is known cannot be done at once.
        assert rounds[0]["cut_by"] == "growth" and rounds[0]["collected"] <= 48 < rounds[-1]["collected"]
    for number in (1, 2, 3):
        assert manifest(finished, f"mining/round-{number}/scores")["rows_in"] == len(crawl())
        names = pq.read_schema(finished / f"mining/round-{number}/scores/part-00000.parquet").names
        assert names == ["id", "url", "domain", "characters", MATH, CODE]


def test_nothing_vanishes_and_what_is_left_out_says_why(finished):
    kept = rows_of(str(finished / "mined"))
    dropped = rows_of(str(finished / "mined" / "dropped"))
    assert sorted(row["id"] for row in kept + dropped) == sorted(row["id"] for row in crawl())
    assert {row["reason"] for row in dropped} == {"not_collected"}
    assert all("evidence" in row["detail"] and "cut" in row["detail"] for row in dropped)
    assert {row["collected_by"] for row in kept} <= {"score", "path", "seed"}


def test_seeds_are_never_drawn_as_negatives_and_are_collected(finished):
    collected = {row["url"]: row["target"] for row in rows_of(str(finished / "mined"))}
    for target, domains in SEEDS.items():
        of_seeds = [row["url"] for row in crawl() if row["domain"] in domains]
        assert {collected[url] for url in of_seeds} == {target}


def test_shuffled_pages_in_other_parts_give_the_same_pages(spark, finished, pages, seeds, tmp_path):
    rows = crawl()
    random.Random(1).shuffle(rows)
    shuffled = write_pages(tmp_path / "pages", rows, 5)
    found = run(spark, tmp_path / "work", shuffled, section_of(seeds))
    expected = rows_of(str(finished / "mined"))
    assert sorted(found, key=lambda row: row["id"]) == sorted(expected, key=lambda row: row["id"])


def test_one_core_gives_the_same_bytes(finished, pages, seeds, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LOOP, "local[1]", str(tmp_path / "work"), pages, section_of(seeds).model_dump_json()],
        capture_output=True, text=True, env=environment(), timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert everything(tmp_path / "work") == everything(finished)


def everything(folder: pathlib.Path) -> dict[str, str]:
    """All tables of a work folder and the arrays of the evidence, by their content."""
    arrays = sorted(folder.rglob("*.npy"))
    return digests(folder) | {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in arrays
    }


@pytest.mark.parametrize("stage", ["scores", "statistics"])
def test_a_loop_killed_in_round_two_goes_on_to_the_same_bytes(spark, finished, pages, seeds, tmp_path, stage):
    work = tmp_path / "work"
    shutil.copytree(finished, work)
    started = manifest(finished, f"mining/round-2/{stage}")["started"]
    for path in finished.rglob("_lode.json"):
        if json.loads(path.read_text())["started"] >= started:
            shutil.rmtree(work / path.parent.relative_to(finished))
    before = times(work)
    process = subprocess.Popen(
        [sys.executable, "-c", LOOP, "local[2]", str(work), pages, section_of(seeds).model_dump_json()],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(), start_new_session=True,
    )  # fmt: skip
    marker = work / "mining" / "round-2" / stage / "_running.json"
    while not marker.exists():
        assert process.poll() is None, "the loop ended before it reached the stage"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    run(spark, work, pages, section_of(seeds))
    assert everything(work) == everything(finished)
    after = times(work)
    assert before and before == {name: after[name] for name in before}


def times(folder: pathlib.Path) -> dict[str, int]:
    """When each stage was finished."""
    return {
        str(path.parent.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("_lode.json")
    }


def test_an_annotation_reruns_from_the_round_it_touches(spark, finished, pages, seeds, tmp_path):
    work, said = tmp_path / "work", tmp_path / "annotations.toml"
    shutil.copytree(finished, work)
    said.write_text(
        f'[[path]]\ntarget = "{MATH}"\nprefix = "other0.example"\ndecision = "accept"\nround = 2\n'
        f'[[path]]\ntarget = "{MATH}"\nprefix = "https://math2.example/"\ndecision = "reject"\nround = 2\n'
        'note = "not for us"\n'
    )
    before = times(work)
    found = run(spark, work, pages, section_of(seeds, annotations=str(said)))
    after = times(work)
    changed = {name for name in before if before[name] != after[name]}
    assert not [name for name in changed if name.startswith(("mining/round-1", "mining/seeds"))]
    assert {f"mining/round-2/{stage}" for stage in ("examples", "models", "scores", "statistics")} <= changed
    assert "mined" in changed
    accepted = [row for row in found if row["domain"] == "other0.example"]
    assert len(accepted) == 10 and {row["target"] for row in accepted} == {MATH}
    assert {row["collected_by"] for row in accepted} == {"path"}
    assert not [row for row in found if row["domain"] == "math2.example"]
    dropped = [row for row in rows_of(str(work / "mined" / "dropped")) if "math2.example" in row["url"]]
    assert {row["reason"] for row in dropped} == {"rejected_path"} and len(dropped) == 12
    # Without the annotations it is the loop that it was.
    run(spark, work, pages, section_of(seeds))
    assert everything(work) == everything(finished)


def test_a_loop_that_ended_goes_on_for_a_decision_about_its_last_round(
    spark, finished, pages, seeds, tmp_path
):
    """The file that a review leaves in the work folder is read without being named."""
    work = tmp_path / "work"
    shutil.copytree(finished, work)
    last = len(manifest(work, "mined")["rounds"])
    (work / "annotations.toml").write_text(
        f'[[path]]\ntarget = "{MATH}"\nprefix = "other0.example"\ndecision = "accept"\nround = {last + 1}\n'
        f'[[path]]\ntarget = "{MATH}"\nprefix = "other1.example"\ndecision = "skip"\nround = {last + 1}\n'
        f'[[path]]\ntarget = "{MATH}"\nprefix = "math2.example"\ndecision = "reject"\nround = {last + 9}\n'
    )
    before = times(work)
    found = run(spark, work, pages, section_of(seeds))
    after = times(work)
    assert not [name for name in before if before[name] != after[name] and name != "mined"]
    assert len(manifest(work, "mined")["rounds"]) == last + 1
    positives = rows_of(str(work / f"mining/round-{last + 1}/examples"))
    assert [row for row in positives if "other0.example" in (row.get("url") or "")]
    assert len([row for row in found if row["domain"] == "other0.example"]) == 10
    # A decision for a round that is not reached changes nothing.
    assert [row for row in found if row["domain"] == "math2.example"]


def test_reject_beats_accept_and_the_nearest_prefix_decides(spark, pages, seeds, tmp_path):
    targets = {
        MATH: {
            "seeds": [seeds[MATH]],
            "accept": ["mixed0.example", "other1.example/page"],
            "reject": ["mixed0.example/news", "https://other1.example/page/"],
        }
    }
    found = run(spark, tmp_path / "work", pages, section_of({}, targets=targets, max_rounds=1))
    folders = {row["url"].split("/")[3] for row in found if row["domain"] == "mixed0.example"}
    assert folders == {"algebra", "sport"}
    assert not [row for row in found if row["domain"] == "other1.example"]


def test_without_path_evidence_a_page_goes_by_its_own_score(spark, pages, seeds, tmp_path):
    section = section_of({MATH: seeds[MATH]}, evidence="page", widen="annotations", max_rounds=1)
    found = run(spark, tmp_path / "work", pages, section)
    assert found and {row["collected_by"] for row in found} <= {"score", "seed"}
    statistics = manifest(tmp_path / "work", "mining/round-1/statistics")
    assert statistics["round"][MATH]["known"] == 24


def test_seeds_like_nothing_in_the_crawl_collect_nothing_much_and_end(spark, pages, tmp_path):
    rows = [
        {"url": f"https://elsewhere.example/{n}", "text": f"zzzz{n % 7} yyyy{n % 5} xxxx wwww{n % 3} " * 9}
        for n in range(20)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "seeds.parquet")
    section = section_of({MATH: str(tmp_path / "seeds.parquet")}, stop_share=0.98)
    found = run(spark, tmp_path / "work", pages, section)
    assert not found
    mined = manifest(tmp_path / "work", "mined")
    assert mined["dropped"] == {"not_collected": len(crawl())}
    assert mined["stopped"] == "at least 98% of round 2 was collected before"
    assert not (tmp_path / "work/mining/round-3").exists()


def test_the_loop_says_why_it_stopped(spark, finished, pages, seeds, tmp_path):
    mined = manifest(finished, "mined")
    assert mined["stopped"] == "the limit of 3 rounds" or "of round 3 was collected" in mined["stopped"]
    assert len(mined["rounds"]) == 3
    work = tmp_path / "work"
    shutil.copytree(finished, work)
    before = times(work)
    run(spark, work, pages, section_of(seeds, stop_share=0.5))
    assert manifest(work, "mined")["stopped"] == "at least 50% of round 2 was collected before"
    after = times(work)
    # What is decided later reruns nothing of what is there.
    assert {name for name in before if before[name] != after[name]} == {"mined"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            '[[path]]\ntarget = "physics"\nprefix = "a.org"\ndecision = "accept"\n',
            "'physics' is not mined for",
        ),
        ('[[path]]\ntarget = "mathematics"\nprefix = "a.org"\ndecision = "maybe"\n', "accept, reject, skip"),
    ],
)
def test_wrong_annotations_are_one_sentence(spark, pages, seeds, tmp_path, content, said):
    (tmp_path / "annotations.toml").write_text(content)
    with pytest.raises(LodeError, match=said):
        run(
            spark, tmp_path / "work", pages, section_of(seeds, annotations=str(tmp_path / "annotations.toml"))
        )


def test_seeds_without_text_are_one_sentence(spark, pages, tmp_path):
    pq.write_table(pa.table({"url": ["https://a.example/"]}), tmp_path / "seeds.parquet")
    with pytest.raises(
        LodeError, match=r"seeds\.parquet: seeds need the columns text and url; text is missing"
    ):
        run(spark, tmp_path / "work", pages, section_of({MATH: str(tmp_path / "seeds.parquet")}))


def test_the_limit_of_growth_does_not_end_the_loop(spark, pages, seeds, tmp_path):
    """A round may collect more than the last one did, also where no path was accepted in between."""
    only = {MATH: seeds[MATH]}
    found = run(
        spark,
        tmp_path / "work",
        pages,
        section_of(only, growth=1.5, stop_share=0.98, max_rounds=5, min_pages=1000),
    )
    rounds = manifest(tmp_path / "work", "mined")["rounds"]
    assert (
        rounds[0][MATH]["cut_by"] == "growth" and rounds[1][MATH]["collected"] > rounds[0][MATH]["collected"]
    )
    assert len(found) > 1.5 * 24
