"""Reading packed shards: order, boundaries, and everything that can be wrong with a folder."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.errors import TrainingError
from pretrain.loader import Shards, permuted


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.text(max_size=5))
def test_a_permutation_reaches_every_place_once(size, key):
    assert sorted(permuted(place, size, key) for place in range(size)) == list(range(size))


def test_epochs_and_seeds_have_orders_of_their_own(shards):
    data = Shards(shards)
    first, second = data.shuffled(0, 40, seed=5), data.shuffled(40, 40, seed=5)
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != second != data.shuffled(40, 40, seed=6)
    assert data.shuffled(33, 20, seed=5) == first[33:] + second[:13]


def test_rows_come_with_their_documents_and_sources(tmp_path, write_shards):
    from tests.pretrain.conftest import packed_rows

    rows = packed_rows(13)
    data = Shards(write_shards(tmp_path / "s", rows, parts=3, group=2))
    assert len(data) == 13
    order = [12, 0, 5, 5, 7]
    batch = data.batch(order)
    assert batch.tokens_BS.tolist() == [rows[i]["tokens"] for i in order]
    for place, i in enumerate(order):
        cut = rows[i]["documents"][1]["start"]
        assert batch.document_BS[place].tolist() == [0] * cut + [1] * (32 - cut)
        assert [data.sources[s] for s in batch.source_BS[place]] == ["code"] * cut + ["web"] * (32 - cut)


def test_padding_that_is_also_an_end_counts(tmp_path, write_shards):
    from tests.pretrain.conftest import packed_rows

    rows = packed_rows(2)
    shared = Shards(write_shards(tmp_path / "a", rows, special_tokens={"bos": 0, "eos": 1, "pad": 1}))
    own = Shards(write_shards(tmp_path / "b", rows, special_tokens={"bos": 0, "eos": 1, "pad": 2}))
    assert (shared.padding, own.padding) == (None, 2)


def spoil(row: dict, **changes) -> dict:
    return row | changes


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tokens": [1] * 31}, "not 32 tokens long"),
        ({"tokens": [64] * 32}, "outside the vocabulary of 64"),
        ({"tokens": [-1] * 32}, "outside the vocabulary"),
        ({"tokens": None}, "pack again"),
        ({"tokens": [None] * 32}, "pack again"),
        ({"documents": []}, "do not cover"),
        ({"documents": None}, "pack again"),
        ({"documents": [{"id": "x", "source": "s", "start": 0, "length": 31}]}, "do not cover"),
        ({"documents": [{"id": "x", "source": "s", "start": 1, "length": 32}]}, "do not cover"),
        ({"documents": [{"id": "x", "source": "s", "start": 0, "length": 2**30}]}, "do not cover"),
        ({"documents": [{"id": "x", "source": "s", "start": None, "length": None}]}, "pack again"),
    ],
)
def test_a_spoilt_row_is_one_clear_sentence(tmp_path, write_shards, change, says):
    from tests.pretrain.conftest import packed_rows

    rows = packed_rows(4)
    rows[2] |= change
    data = Shards(write_shards(tmp_path / "s", rows, parts=1, sequence_length=32))
    with pytest.raises(TrainingError, match=says) as caught:
        data.batch([0])
    assert "part-00000.parquet" in str(caught.value)


def test_a_spoilt_folder_is_one_clear_sentence(tmp_path, write_shards):
    from tests.pretrain.conftest import packed_rows

    with pytest.raises(TrainingError, match=r"no _lode\.json"):
        Shards(str(tmp_path / "nowhere"))
    (tmp_path / "file").write_text("x")
    with pytest.raises(TrainingError, match=r"_lode\.json"):
        Shards(str(tmp_path / "file"))
    with pytest.raises(TrainingError, match="no packed sequences"):
        Shards(write_shards(tmp_path / "empty", [], parts=1))
    broken = tmp_path / "broken"
    write_shards(broken, packed_rows(3))
    (broken / "part-00001.parquet").write_bytes(b"PAR1" + bytes(np.arange(100, dtype=np.uint8)))
    with pytest.raises(TrainingError, match=r"part-00001\.parquet"):
        Shards(str(broken))
    for manifest in ("{", "[]", '{"stage": "pack"}', '{"shards": []}', json.dumps({"shards": {"seed": 1}})):
        (broken / "_lode.json").write_text(manifest)
        with pytest.raises(TrainingError, match="pack again"):
            Shards(str(broken))
