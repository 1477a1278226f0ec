"""Expert load on real text from a skewed start, over whole runs: the trimmed version of `benchmarks/balance.py`."""

import tarfile

import numpy as np
import pytest

from benchmarks.balance import VARIANTS, measure
from benchmarks.ngram import NGram
from pretrain.shards import RowReader, Shards

LENGTH, STEPS = 64, 250


@pytest.fixture(scope="module")
def work(tmp_path_factory, write_shards, shared_data) -> str:
    """The Python files of one repository, a byte a token, as a work folder."""
    with tarfile.open(shared_data / "repos" / "networkx-3.2.1.tar.gz") as archive:
        files = sorted((m for m in archive if m.isfile() and m.name.endswith(".py")), key=lambda m: m.name)
        text = b"".join(archive.extractfile(m).read() for m in files)
    bytes_NS = np.frombuffer(text[: len(text) // LENGTH * LENGTH], np.uint8).reshape(-1, LENGTH)
    rows = [
        {
            "tokens": row.tolist(),
            "documents": [{"id": str(i), "source": "code", "start": 0, "length": LENGTH}],
        }
        for i, row in enumerate(bytes_NS[:: max(1, len(bytes_NS) // 8000)])
    ]
    folder = tmp_path_factory.mktemp("balance")
    about = {"vocabulary_size": 256, "tokens_per_source": {"code": 1}}
    write_shards(folder / "heldout", rows[::50], parts=1, **about)
    write_shards(folder / "shards", [r for i, r in enumerate(rows) if i % 50], group=100, **about)
    return str(folder)


@pytest.fixture(scope="module")
def runs(work) -> dict[str, dict[str, float]]:
    names = ("bias controller", "neither")
    return {name: measure(work, 0, STEPS, {"threads": 1} | VARIANTS[name]) for name in names}


def test_both_begin_with_two_experts_that_get_all(runs):
    for run in runs.values():
        assert run["first"] == pytest.approx(16 / 2 - 1, abs=0.1)


def test_the_bias_controller_levels_the_load_of_the_last_hundred_steps(runs):
    assert runs["bias controller"]["max_violation"] <= 0.1


def test_without_balancing_the_load_is_three_times_as_uneven_and_more(runs):
    assert runs["neither"]["max_violation"] >= 3 * max(0.1, runs["bias controller"]["max_violation"])


def test_what_is_learned_meanwhile_reaches_beyond_the_byte_before(runs, work):
    """Bigrams counted in all shards, four times what the model has read; it wins by more than a twentieth."""
    train, held = Shards(f"{work}/shards"), Shards(f"{work}/heldout")
    bigrams = NGram(RowReader(train, 2).read(np.arange(len(train)))[0], 256, order=2)
    probabilities = bigrams.probabilities(RowReader(held, 2).read(np.arange(len(held)))[0])
    assert runs["bias controller"]["heldout_loss"] < 0.95 * -np.log(probabilities[:, 1:]).mean()
