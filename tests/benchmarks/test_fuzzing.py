"""The fuzzer finds faults that are there, and none where there are none."""

import random

import pytest

from benchmarks import fuzzing
from corpus import extract


@pytest.fixture
def seeds(monkeypatch):
    monkeypatch.setattr(fuzzing, "_seeds", [b"<p>One page of <b>words</b> and \\(x^2\\).</p>" * 20])


def test_pages_and_archives_are_without_faults(seeds, tmp_path):
    outcomes, faults, _ = fuzzing.page_batch(0, 1, 30, str(tmp_path))
    assert outcomes.total() == 30 and outcomes["kept"] and not faults
    outcomes, faults, _ = fuzzing.archive_batch(0, 1, 10, str(tmp_path))
    assert outcomes["kept"] and not faults and not list(tmp_path.iterdir())


def test_faults_are_found_and_their_inputs_saved(seeds, tmp_path, monkeypatch):
    def broken(html, expand_macros):
        raise RecursionError

    monkeypatch.setattr(extract, "extract_text", broken)
    outcomes, faults, _ = fuzzing.page_batch(0, 1, 5, str(tmp_path))
    assert outcomes == {"extraction_failed": 5} and len(faults) == len(list(tmp_path.iterdir())) == 5
    monkeypatch.setattr(fuzzing, "read_warc", lambda path: [])
    _, faults, _ = fuzzing.archive_batch(0, 1, 20, None)
    assert any("lost" in fault for fault in faults)


def test_costly_pages_are_as_large_as_accepted():
    for name, make in fuzzing.costly(2000, 300).items():
        if name != "macro bomb":
            page = make()
            assert len(page) <= 2000 and page.count("<") <= 300, name
            assert len(page) > 1000 or page.count("<") > 250, name


def test_mutations_depend_on_their_seed_alone():
    first, again, other = (fuzzing.mutated(b"<p>x</p>" * 50, b"abc", random.Random(s)) for s in (1, 1, 2))
    assert first == again != other
