import json
import random
import re
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import dedup_corpus, dedup_peers, dedup_speed, near_duplicates
from benchmarks.dedup_corpus import Novel, build, jaccard, pieces, shingles, variant, write
from corpus.minhash import MinHash


def prose(seed: int, words: int = 400) -> str:
    random_ = random.Random(seed)
    drawn = (
        f"{random_.choice('bcdfgl')}{random_.choice('aeiou')}{random_.randrange(300)}" for _ in range(words)
    )
    return "".join(f"{word}{random_.choice([' ', ' ', ', ', '. '])}" + "\n" * (i % 12 == 0)
                   for i, word in enumerate(drawn))  # fmt: skip


def test_similarity_is_that_of_word_5_grams():
    a, b = shingles("One two three, four: five six!"), shingles("one TWO three four five seven")
    assert a == {("one", "two", "three", "four", "five"), ("two", "three", "four", "five", "six")}
    assert jaccard(a, b) == 1 / 3


@given(st.integers(0, 1000), st.floats(0.3, 0.99))
def test_a_variant_has_about_the_similarity_asked_for(seed, similarity):
    text = prose(seed, 2000)
    found = jaccard(shingles(text), shingles(variant(text, similarity, random.Random(seed))))
    assert abs(found - similarity) < 0.15


def test_pieces_are_whole_lines_and_neither_short_nor_long():
    text = prose(1, 5000)
    found = list(pieces(text, random.Random(0), 2000))
    assert "".join(found) == text[: sum(map(len, found))]
    assert all(500 <= len(piece) <= 4000 and piece.endswith("\n") for piece in found)


def test_a_piece_that_was_there_before_or_that_has_no_words_to_count_stays_out():
    novel = Novel()
    assert novel(prose(1))
    assert not novel(prose(1))
    assert not novel(prose(1) + prose(2, 50))
    assert novel(prose(2))
    assert not novel("a few words")
    assert not novel(prose(3) + "\u6570\u5b66")


def test_the_same_seed_builds_the_same_corpus_and_its_pairs_are_as_stated(tmp_path):
    texts = [prose(seed, 3000) for seed in range(4)]
    documents, pairs = build(texts, 1, 7)
    assert (documents, pairs) == build(texts, 1, 7)
    assert documents != build(texts, 1, 8)[0]
    assert pairs
    for base, other, similarity in pairs:
        assert jaccard(shingles(documents[base]), shingles(documents[other])) == similarity
    related = {frozenset(pair[:2]) for pair in pairs}
    for a in range(len(documents)):
        for b in range(a):
            if frozenset((a, b)) not in related:
                assert jaccard(shingles(documents[a]), shingles(documents[b])) < 0.3
    write(tmp_path, documents, pairs)
    table = pq.read_table(tmp_path / "documents").to_pylist()
    lines = [json.loads(line) for path in sorted((tmp_path / "jsonl").iterdir()) for line in path.open()]
    assert [(row["id"], row["text"]) for row in table] == [(row["id"], row["text"]) for row in lines]
    text_of = {row["id"]: row["text"] for row in table}
    assert sorted(text_of.values()) == sorted(documents)
    for pair in pq.read_table(tmp_path / "pairs.parquet").to_pylist():
        assert jaccard(shingles(text_of[pair["base"]]), shingles(text_of[pair["variant"]])) == pair["jaccard"]


def test_real_texts_are_files_of_text_as_they_are(tmp_path):
    (tmp_path / "a.md").write_text(prose(1))
    (tmp_path / "short.md").write_text("short")
    (tmp_path / "b.bin").write_text(prose(2))
    (tmp_path / "c.py").write_bytes(b"\xff" * 1000)
    found = dedup_corpus.real_texts([str(tmp_path)], tmp_path / "no sample", random.Random(0))
    assert list(found) == [prose(1)]


def test_random_sets_have_the_similarity_they_state():
    made = list(near_duplicates.random_sets(2, random.Random(0)))
    assert [near_duplicates.band_of(s) for *_, s in made] == [band for band in range(14) for _ in range(2)]
    for a, b, similarity in made:
        assert jaccard(set(a.split()), set(b.split())) == similarity


def test_the_rate_of_candidates_is_counted_by_bands():
    made = list(near_duplicates.random_sets(40, random.Random(1)))
    found = near_duplicates.candidate_rates(made, [MinHash("prose", 1, 200, 1, seed) for seed in (0, 1)])
    assert found["fewest_pairs"] == 40
    assert found["largest_difference"] == 0
    assert all(row["found"] == 1 for row in found["bands_of_s"].values())
    few = near_duplicates.candidate_rates(made, [MinHash("prose", 1, 1, 40, 0)])
    assert few["bands_of_s"]["0.30-0.35"]["found"] == 0


def test_pairs_of_keys_are_those_of_datasketch():
    random_ = np.random.default_rng(0)
    signatures = random_.integers(0, 3, (60, 12), np.uint32)
    minhash = MinHash("prose", 5, 4, 3, 0)
    ours = near_duplicates.pairs_of_keys(minhash.band_keys(signatures))
    assert ours
    assert ours == near_duplicates.pairs_of_datasketch(signatures, 4, 3)


def test_all_pairs_are_found_without_a_sketch():
    texts = {"a": prose(1), "b": variant(prose(1), 0.8, random.Random(0)), "c": prose(2), "d": prose(1)}
    texts["empty"] = ""
    found = near_duplicates.all_pairs(texts, 0.5)
    assert set(found) == {("a", "b"), ("a", "d"), ("b", "d")}
    assert found["a", "b"] == pytest.approx(jaccard(shingles(texts["a"]), shingles(texts["b"])))


def test_variants_differ_in_formulas_only():
    text = (
        r"Let $x_1 + y = 2$ and $$a < 3$$ cost \$5, or \$6 in `$z $`."
        + "\n```\necho $a + $b\n```\n$\\$4 = 3$"
    )
    assert near_duplicates.formulas_of(text) == ["$x_1 + y = 2$", "$$a < 3$$", "$\\$4 = 3$"]
    found = near_duplicates.formula_variants(text, random.Random(0))
    assert found["variables", "all"] == text.replace("x_1", "y_1").replace("+ y =", "+ z =").replace(
        "a <", "b <"
    )
    assert found["numbers", "all"].startswith(r"Let $x_2 + y = 3$ and $$a < 4$$ cost \$5")
    for changed in found.values():
        assert changed != text
        outside = [
            near_duplicates.FORMULA.sub(lambda m: "" if m["formula"] else m[0], t) for t in (text, changed)
        ]
        assert outside[0] == outside[1]
    assert near_duplicates.formula_variants("no formulas", random.Random(0)) == {}


def test_scores_count_pairs_that_lose_a_member():
    pairs = [
        {"base": "a", "variant": "b", "jaccard": 0.95},
        {"base": "c", "variant": "d", "jaccard": 0.95},
        {"base": "e", "variant": "f", "jaccard": 0.31},
    ]
    found = dedup_speed.scores({"a", "e", "f"}, pairs, 6)
    assert found["removed"] == 3
    assert found["pairs_lost_entirely"] == 1
    assert found["recall"] == {"0.3": 0.0, "0.9": 1.0}
    assert found["expected"] == {"0.3": 0.001, "0.9": 1.0}


def test_the_memory_of_a_job_is_that_of_all_its_processes():
    held = "import subprocess, sys, time; held = bytearray(b'x') * (60 << 20); "
    child = held + "print(flush=True); sys.stdin.read()"
    both = held + f"command = [sys.executable, '-c', {child!r}]; pipes = dict(stdin=-1, stdout=-1); "
    both += "child = subprocess.Popen(command, **pipes); child.stdout.readline(); time.sleep(1.5)"
    run = dedup_speed.whole([sys.executable, "-c", both])
    assert run["seconds"] > 1.5
    assert 120 < run["memory_mb"] < 400


def test_a_job_that_fails_stops_the_measurement_and_says_what_it_printed():
    with pytest.raises(SystemExit, match=re.compile("failed with status 3.*no luck", re.S)):
        dedup_speed.whole([sys.executable, "-c", "print('no luck'); raise SystemExit(3)"])


def test_a_library_around_which_the_job_is_ours_keeps_the_first_of_a_cluster(tmp_path):
    texts = [
        prose(1),
        prose(2),
        prose(1),
        variant(prose(2), 0.97, random.Random(0)),
        "short",
        "short",
        "Other",
    ]
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    for part in (0, 1):
        rows = [{"id": str(i), "text": texts[i]} for i in range(len(texts)) if i % 2 == part]
        (source / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dedup_peers.run("datasketch", str(source), str(out), "20", "4", "5", "1")
    kept = {json.loads(line)["id"] for path in out.iterdir() for line in path.open()}
    assert kept == {"0", "1", "4", "6"}


def test_one_core_is_measured_on_what_a_file_holds(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(prose(seed)) + "\n" for seed in range(30)))
    assert dedup_speed.lode_part("prose", str(path))["signatures"] > 0


def test_a_peer_that_is_not_installed_is_named():
    assert dedup_speed.version("datasketch", sys.executable)[0].isdigit()
    with pytest.raises(SystemExit, match="py-data-juicer is not installed there"):
        dedup_speed.version("data-juicer", sys.executable)
