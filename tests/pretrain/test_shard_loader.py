"""Reading packed shards: order, ranks, boundaries, and everything that can be wrong with a folder."""

import gc
import json
import threading
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.config import ModelConfig
from pretrain.errors import TrainingError
from pretrain.loader import COLUMNS, Batch, Loader, Order
from pretrain.loss import IGNORED, token_losses
from pretrain.presets import MODELS
from pretrain.shards import RowReader, Shards
from tests.pretrain.conftest import packed_rows

SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=30).filter(sum)


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(0, 2**63 - 1), st.integers(0, 3))
def test_an_epoch_reaches_every_row_once(sizes, seed, epoch):
    order, n = Order(np.array(sizes), seed), sum(sizes)
    found = order.rows(np.arange(epoch * n, (epoch + 1) * n))
    assert sorted(found.tolist()) == list(range(n))
    middle = epoch * n + n // 2  # asked for in parts, and across an epoch's end
    assert order.rows(np.arange(middle, middle + n))[: n - n // 2].tolist() == found[n // 2 :].tolist()


@settings(max_examples=60, deadline=None)
@given(SIZES, st.data())
def test_a_run_goes_on_with_any_number_of_ranks(sizes, data):
    """Steps of changing batch sizes on changing numbers of ranks see what one undisturbed rank sees."""
    first, n = 0, sum(sizes)
    whole = Order(np.array(sizes), 7).rows(np.arange(3 * n + 400))
    while first < 3 * n:
        world = data.draw(st.sampled_from([1, 2, 3, 4, 8]))
        batch = world * data.draw(st.integers(1, 40))
        ranks = [Order(np.array(sizes), 7) for _ in range(world)]
        taken = [np.arange(first + (r - first) % world, first + batch, world) for r in range(world)]
        assert {len(places) for places in taken} == {batch // world}
        seen = [order.rows(places).tolist() for order, places in zip(ranks, taken, strict=True)]
        assert sorted(chain.from_iterable(seen)) == sorted(whole[first : first + batch].tolist())
        first += batch


def test_ranks_share_next_to_no_row_group():
    sizes, groups = np.full(640, 32), np.repeat(np.arange(640), 32)
    order = Order(sizes, 3)
    read = [set(groups[order.rows(np.arange(r, 640 * 32, 8))]) for r in range(8)]
    assert sum(map(len, read)) <= 640 + COLUMNS
    neighbours = groups[order.rows(np.arange(COLUMNS))]
    assert len(set(neighbours)) == COLUMNS


def test_the_order_is_stable_for_ever():
    """Runs that were stopped years ago go on with these numbers."""
    assert Order(np.array([3, 0, 5, 2]), 1).rows(np.arange(8, 24)).tolist() == [
        9,
        8,
        6,
        3,
        7,
        4,
        5,
        9,
        8,
        0,
        1,
        2,
        6,
        4,
        3,
        5,
    ]


def test_epochs_and_seeds_have_orders_of_their_own():
    one, other = Order(np.full(8, 5), 5), Order(np.full(8, 5), 6)
    first, second = one.rows(np.arange(40)).tolist(), one.rows(np.arange(40, 80)).tolist()
    assert first != second != other.rows(np.arange(40)).tolist() != first


def tokens_of(loader: Loader, steps: int) -> list[list[list[int]]]:
    return [next(loader).tokens_BS.tolist() for _ in range(steps)]


def test_batches_are_the_rows_of_the_order(shards):
    data = Shards(shards)
    with Loader(data, 6, seed=4) as loader:
        found = list(chain.from_iterable(tokens_of(loader, 15)))
    rows = Order(data.group_rows, 4).rows(np.arange(90))
    assert found == RowReader(data, 3).read(rows)[0].tolist()


def test_a_state_resumes_on_other_ranks_and_batches(shards):
    data = Shards(shards)
    with Loader(data, 8, seed=4) as whole:
        expected = list(chain.from_iterable(tokens_of(whole, 12)))
    ranks = [Loader(data, 8, 4, rank, 2) for rank in range(2)]
    seen = [
        list(chain.from_iterable(step))
        for step in zip(*(tokens_of(loader, 5) for loader in ranks), strict=True)
    ]
    state = json.loads(json.dumps(ranks[0].state()))
    assert state == ranks[1].state() and state["sequences"] == 40
    more = [Loader(data, 4, 4, rank, 4) for rank in range(4)]
    for loader in more:
        loader.restore(state)
    seen += [
        list(chain.from_iterable(step))
        for step in zip(*(tokens_of(loader, 2) for loader in more), strict=True)
    ]
    for loader in more:
        loader.batch_sequences = 16
    seen += [
        list(chain.from_iterable(step))
        for step in zip(*(tokens_of(loader, 3) for loader in more), strict=True)
    ]
    first = 0
    for step in seen:
        assert sorted(step) == sorted(expected[first : first + len(step)])
        first += len(step)
    assert first == 96
    for loader in [*ranks, *more]:
        loader.close()


def _rank(rank: int, world: int, folder: str, state: dict | None, steps: int, out: str) -> None:
    with Loader(Shards(folder), 8, 4, rank, world) as loader:
        if state:
            loader.restore(state)
        tokens = tokens_of(loader, steps)
        with open(f"{out}/{world}-{rank}.json", "w") as file:
            json.dump([tokens, loader.state()], file)


def test_processes_of_two_ranks_then_four_see_one_run(shards, tmp_path):
    with Loader(Shards(shards), 8, 4) as whole:
        expected = tokens_of(whole, 9)
    state, seen = None, []
    for world, steps in ((2, 4), (4, 5)):
        arguments = (world, shards, state, steps, str(tmp_path))
        torch.multiprocessing.spawn(_rank, arguments, nprocs=world)
        found = [json.loads((tmp_path / f"{world}-{rank}.json").read_text()) for rank in range(world)]
        seen += [
            list(chain.from_iterable(step)) for step in zip(*(tokens for tokens, _ in found), strict=True)
        ]
        state = found[0][1]
    assert [sorted(step) for step in seen] == [sorted(step) for step in expected]


def test_settings_that_do_not_fit_are_refused(shards, tmp_path, write_shards):
    data = Shards(shards)
    for batch, rank, world, says in ((6, 0, 4, "multiple"), (0, 0, 1, "multiple"), (4, 4, 4, "rank 4")):
        with pytest.raises(TrainingError, match=says):
            Loader(data, batch, 0, rank, world)
    state = Loader(data, 4, 0).state()
    other = Shards(write_shards(tmp_path / "s", packed_rows(41)))
    for loader, says in ((Loader(other, 4, 0), "other shards"), (Loader(data, 4, 1), "another seed")):
        with pytest.raises(TrainingError, match=says):
            loader.restore(state)
    with pytest.raises(TrainingError, match="sequences"):
        Loader(data, 4, 0).restore(state | {"sequences": -1})


def test_threads_end_with_their_loaders(shards):
    data, before = Shards(shards), threading.active_count()
    for i in range(100):
        loader = Loader(data, 2, i)
        next(loader)
        if i % 2:
            loader.close()
    del loader
    gc.collect()
    assert threading.active_count() == before


def test_what_fails_in_the_thread_is_raised_where_the_batch_is_asked_for(tmp_path, write_shards):
    rows = packed_rows(12)
    rows[7] |= {"tokens": [64] * 32}
    loader = Loader(Shards(write_shards(tmp_path / "s", rows, sequence_length=32)), 4, 0)
    for _ in range(2):  # asked again it says so again
        with pytest.raises(TrainingError, match=r"part-00001\.parquet, row group 0: a token id"):
            tokens_of(loader, 4)


def test_rows_come_with_their_documents_and_sources(tmp_path, write_shards):
    rows = packed_rows(13)
    data = Shards(write_shards(tmp_path / "s", rows, parts=3, group=2))
    assert len(data) == 13
    order = [12, 0, 5, 5, 7]
    tokens, document, source = RowReader(data, 2).read(np.array(order))
    assert tokens.tolist() == [rows[i]["tokens"] for i in order]
    for place, i in enumerate(order):
        cut = rows[i]["documents"][1]["start"]
        assert document[place].tolist() == [0] * cut + [1] * (32 - cut)
        assert [data.sources[s] for s in source[place]] == ["code"] * cut + ["web"] * (32 - cut)


def span(name: str | None, start: int, length: int, chunk: int = 0, offset: int = 0) -> dict:
    source = None if name is None else "web"
    about = {"id": name, "source": source, "start": start, "length": length}
    return about | {"chunk": chunk, "epoch": 0, "offset": offset}


def test_boundaries_by_hand(tmp_path, write_shards):
    """Two pieces of one window are one document; the next window of the same document is another."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from corpus.packing import SEQUENCE

    spans = [
        [span("a", 0, 2, 0, 5), span("a", 2, 1, 0, 7), span("a", 3, 3, 1), span(None, 6, 2)],
        [span("b", 0, 8)],
    ]
    rows = [{"tokens": [*range(3, 11)], "documents": documents, "completed": 0} for documents in spans]
    folder = write_shards(tmp_path / "s", [], parts=1, sequence_length=8)
    pq.write_table(pa.Table.from_pylist(rows, SEQUENCE), f"{folder}/part-00000.parquet")
    batch = Batch(*map(torch.from_numpy, RowReader(Shards(folder), 1).read(np.arange(2))))
    assert batch.document_BS.tolist() == [[0, 0, 0, 1, 1, 1, -1, -1], [0] * 8]
    assert batch.source_BS.tolist() == [[1] * 6 + [-1] * 2, [1] * 8]
    assert batch.position_BS.tolist() == [[0, 1, 2, 0, 1, 2, 0, 1], [*range(8)]]
    assert batch.cu_seqlens.tolist() == [0, 3, 6, 8, 16] and batch.cu_seqlens.dtype == torch.int32
    assert batch.max_seqlen == 8
    x = IGNORED
    assert batch.targets(1).tolist()[0] == [4, 5, 6, 7, 8, x, x, x]
    assert batch.targets(1, True).tolist()[0] == [4, 5, x, 7, 8, x, x, x]
    assert batch.targets(2, True).tolist() == [[5, x, x, 8, x, x, x, x], [5, 6, 7, 8, 9, 10, x, x]]
    assert batch.loss_mask(1, True)[0].tolist() == [True, True, False, True, True] + [False] * 3


@pytest.mark.parametrize("seed", range(3))
def test_a_document_has_no_part_in_the_losses_of_others(build_model, seed):
    """Main loss and two depths of multi-token prediction, with masking on."""
    config = ModelConfig.model_validate(
        MODELS["tiny"].model_dump() | {"vocab_size": 64, "num_nextn_predict_layers": 2}
    )
    model, random = build_model(config, seed), np.random.default_rng(seed)
    document_BS = torch.tensor([sorted(random.integers(0, 5, 24).tolist()) for _ in range(2)])
    tokens_BS = torch.from_numpy(random.integers(3, 64, (2, 24)))

    def losses(tokens_BS: torch.Tensor) -> list[torch.Tensor]:
        batch = Batch(tokens_BS, document_BS, document_BS)
        with torch.no_grad():
            hidden, _ = model(tokens_BS, document_BS)
            found = [hidden, *model.predict_ahead(hidden, tokens_BS, document_BS)[0]]
            return [
                token_losses(
                    h.flatten(0, 1), model.head.weight, batch.targets(k, True)[:, : h.shape[1]].flatten()
                ).view(h.shape[:2])
                for k, h in enumerate(found, 1)
            ]

    before = losses(tokens_BS)
    for changed in document_BS.unique().tolist():
        here = document_BS == changed
        after = losses(torch.where(here, 3 + (tokens_BS + 7) % 61, tokens_BS))
        for one, other in zip(before, after, strict=True):
            own = here[:, : one.shape[1]]
            torch.testing.assert_close(one[~own], other[~own], rtol=1e-5, atol=1e-5)
            assert not own.sum() > 9 or not torch.allclose(one[own], other[own])


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
        ({"documents": [{"id": "x", "source": "s", "start": 0, "length": 32}]}, "source 's' is not in"),
        ({"documents": [{"id": "x", "source": "web", "start": 0, "length": 31}]}, "do not cover"),
        ({"documents": [{"id": "x", "source": "web", "start": 1, "length": 32}]}, "do not cover"),
        ({"documents": [{"id": "x", "source": "web", "start": 0, "length": 2**30}]}, "do not cover"),
        ({"documents": [{"id": "x", "source": "web", "start": None, "length": None}]}, "pack again"),
    ],
)
def test_a_spoilt_row_is_one_clear_sentence(tmp_path, write_shards, change, says):
    rows = packed_rows(4)
    rows[2] |= change
    data = Shards(write_shards(tmp_path / "s", rows, parts=1, sequence_length=32))
    with pytest.raises(TrainingError, match=says) as caught:
        RowReader(data, 1).read(np.array([0]))
    assert "part-00000.parquet" in str(caught.value)


def test_a_spoilt_folder_is_one_clear_sentence(tmp_path, write_shards):
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
