"""Mixture, fill-in-the-middle and packing on Spark: nothing lost, documents whole again, the same for any engine."""

import json
import pathlib
import random
from collections import defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.chunks import CHUNK
from corpus.errors import LodeError
from corpus.packing import PLACED, SEQUENCE
from corpus.schema import DOCUMENT, REPOSITORY
from corpus.tokens import SPECIAL, TextTokenizer, train_tokenizer
from fim.transform import invert
from jobs import pack
from jobs.copies import Copies, as_bytes, as_lists, bucket_of
from jobs.engine import Work
from jobs.pipeline import check_inputs
from jobs.progress import Progress
from jobs.recipe import FimSection, MixtureSection, PackSection, TokenizerSection, load_recipe
from tests.jobs.conftest import digests, lode

LENGTH = 128
WORDS = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "naïve",
    "数学",
    "x_1",
    "=",
    "42",
    "(",
    ")",
    ";",
    "return",
    "if",
    "while",
]
WORDS += ["<｜fim▁hole｜>", ":\n", "{\n", "}\n", ".\n\n"]


def words(rng: random.Random, most: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, most)))


def repository(rng: random.Random, number: int) -> dict:
    text, files = "", []
    for n in range(rng.randint(1, 6)):
        body = f"# src/file_{n}.py\n{words(rng, 120)}\n"
        files.append(
            {
                "path": f"src/file_{n}.py",
                "language": "Python",
                "start": len(text),
                "end": len(text) + len(body),
            }
        )
        text += body
    return {"id": f"r{number}", "source": "code", "repository": f"r{number}", "text": text, "files": files}


def page(rng: random.Random, number: int) -> dict:
    return {"id": f"p{number}", "source": "text", "text": words(rng, 60) + "\n", "language": "en"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> pathlib.Path:
    """Repositories, pages and a tokenizer; `code` and `text` in a few parts each, and in one."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = random.Random(5)
    rows = {"code": [repository(rng, n) for n in range(150)], "text": [page(rng, n) for n in range(900)]}
    texts = [row["text"] for found in rows.values() for row in found]
    (folder / "tokenizer.json").write_text(train_tokenizer(iter(texts), 400).to_str())
    for name, schema in (("code", REPOSITORY), ("text", DOCUMENT)):
        for parts, place in ((3, folder / name), (1, folder / "in_one" / name)):
            place.mkdir(parents=True)
            for part in range(parts):
                pq.write_table(
                    pa.Table.from_pylist(rows[name][part::parts], schema), place / f"part-{part:05d}.parquet"
                )
    return folder


SETTINGS = {"rate": {"code": 0.5}, "spm_rate": 0.25}
PACKING = {
    "sequence_length": LENGTH,
    "split_newlines": 0.3,
    "held_out_tokens": 1500,
    "tokens_per_part": 40_000,
}
MIXTURE = {"weights": {"code": 3, "text": 1}, "max_epochs": 2}


def packed(work: Work, corpus: pathlib.Path, fim=SETTINGS, mixture=MIXTURE, seed=7, until=None, **packing):
    """The stages in one work folder, by name."""
    parts = [pack.part(str(corpus / name), name) for name in ("code", "text")]
    tokenizer = corpus / "tokenizer.json"
    tokenizer = tokenizer if tokenizer.exists() else corpus.parent / "tokenizer.json"
    section = PackSection(**PACKING | packing)
    made = pack.tokenizer(work, parts, TokenizerSection(path=str(tokenizer)), seed)
    windows = pack.tokenized(work, parts, made, section, FimSection(**fim))
    aside = pack.heldout(work, windows, made, section, seed)
    shards = pack.shards(
        work, windows, aside, made, MixtureSection(**mixture), FimSection(**fim), section, seed
    )
    return {"tokenizer": made, "tokenized": windows, "heldout": aside, "shards": shards}


@pytest.fixture(scope="module")
def stages(spark, corpus, tmp_path_factory):
    with Work(str(tmp_path_factory.mktemp("packed") / "work"), spark, Progress(quiet=True)) as work:
        return packed(work, corpus)


def copies(stage) -> dict[tuple[str, int, int], list[tuple[int, list[int]]]]:
    """Offset and tokens of the pieces of every copy of a window, by id, chunk and epoch."""
    found = defaultdict(list)
    for part in stage.parts:
        for row in pq.read_table(part).to_pylist():
            for span in row["documents"]:
                if span["id"] is not None:
                    tokens = row["tokens"][span["start"] : span["start"] + span["length"]]
                    found[span["id"], span["chunk"], span["epoch"]].append((span["offset"], tokens))
    return {key: sorted(pieces) for key, pieces in found.items()}


def dropped(stage, reason: str) -> list[dict]:
    rows = pq.read_table(f"{stage.folder}/dropped").to_pylist()
    return [row for row in rows if row["reason"] == reason]


def test_every_copy_of_a_window_is_its_text_again(stages):
    """Read back from the shards, rearranged windows included: no middle is cut, no text is missing or changed."""
    tokenizer = TextTokenizer.load(f"{stages['tokenizer'].folder}/tokenizer.json")
    roles = {number: role for role, number in tokenizer.special.items()}
    texts = {
        (row["id"], row["chunk"]): row["text"]
        for part in stages["tokenized"].parts
        for row in pq.read_table(part).to_pylist()
    }
    lost = {row["id"] for row in dropped(stages["shards"], "remainder")}
    whole = middles = 0
    for (name, chunk, _), pieces in copies(stages["shards"]).items():
        ids = [token for _, tokens in pieces for token in tokens]
        assert [at for at, _ in pieces] == np.cumsum([0, *(len(tokens) for _, tokens in pieces)])[
            :-1
        ].tolist()
        has_middle = tokenizer.special["fim_hole"] in ids
        assert len(pieces) == 1 or not has_middle
        if name in lost and not has_middle:
            continue
        ids = ids[1:] if ids[0] == tokenizer.special["bos"] else ids
        ids = ids[:-1] if ids[-1] == tokenizer.special["eos"] else ids
        laid_out, start = [], 0
        for place, number in enumerate([*ids, -1]):
            if number in roles or number == -1:
                laid_out += [("text", tokenizer.decode(ids[start:place]))] if place > start else []
                laid_out += [("special", roles[number])] if number in roles else []
                start = place + 1
        assert invert(laid_out) == texts[name, chunk]
        whole, middles = whole + 1, middles + has_middle
    assert whole > 1000 and middles > 200


def test_tokens_in_are_tokens_out_and_a_counted_remainder(stages):
    manifest = stages["shards"].manifest
    assert manifest["rows_in"] == manifest["rows_out"] + manifest["rows_dropped"]
    for name, source in manifest["mixture"].items():
        lost = [
            row["detail"].split() for row in dropped(stages["shards"], "remainder") if row["source"] == name
        ]
        gone = sum(int(number) for number, *_ in lost)
        assert source["used"] == manifest["shards"]["tokens_per_source"].get(name, 0) + gone
    facts = manifest["shards"]["packing"]
    assert facts["tokens"] == sum(manifest["shards"]["tokens_per_source"].values()) + facts["padding"]
    assert facts["tokens"] == facts["sequences"] * LENGTH and facts["padding"] <= facts["tokens"] / 1000
    assert len(stages["shards"].parts) > 1


def test_shares_epochs_and_rates_are_those_that_were_asked(stages):
    manifest = stages["shards"].manifest
    mixture = manifest["mixture"]
    used = sum(source["used"] for source in mixture.values())
    for source in mixture.values():
        assert abs(source["used"] - source["asked"] * used) <= LENGTH  # half a window of either source
        assert source["epochs"] <= 2 and source["tokens_split"] > 0
    assert manifest["limited_by"] in mixture and mixture[manifest["limited_by"]]["epochs"] == 2
    fim = mixture["code"]["fim"]
    assert "fim" not in mixture["text"] and fim["of"] > 400
    drawn = (fim["cut"] + fim["too_long"]) / fim["of"]
    assert abs(drawn - 0.5) < 3 * (0.25 / fim["of"]) ** 0.5
    assert fim["too_long"] < 0.02 * fim["of"] and fim["rate"] == fim["cut"] / fim["of"]
    assert manifest["shards"]["fim_windows"] == fim["cut"]


def test_each_epoch_has_cuts_of_its_own(stages):
    hole = stages["shards"].manifest["shards"]["special_tokens"]["fim_hole"]
    found = {key: pieces[0][1] for key, pieces in copies(stages["shards"]).items() if hole in pieces[0][1]}
    both = [(found[key], found[(*key[:2], 1)]) for key in found if key[2] == 0 and (*key[:2], 1) in found]
    assert len(both) > 50 and sum(one != other for one, other in both) > 0.9 * len(both)
    epochs = [{key[:2] for key in found if key[2] == epoch} for epoch in (0, 1)]
    assert epochs[0] - epochs[1] and epochs[1] - epochs[0]


def test_held_out_documents_are_in_no_shard(stages):
    held = {name for names in stages["heldout"].manifest["documents"].values() for name in names}
    assert held == {key[0] for key in copies(stages["heldout"])} | {
        row["id"] for row in dropped(stages["heldout"], "remainder")
    }
    assert held and not held & {key[0] for key in copies(stages["shards"])}
    assert held == {row["id"] for row in dropped(stages["shards"], "held_out")}


def test_neither_parts_nor_engines_decide_anything(stages, corpus, work, tmp_path):
    """Other parts of the same documents, and another process with four cores: the same bytes."""
    packed(work, corpus / "in_one")
    theirs = digests(pathlib.Path(stages["shards"].folder))
    assert len(theirs) > 2 and digests(pathlib.Path(work.path("shards"))) == theirs
    done = lode(
        "pack", "--input", f"{corpus / 'code'}=3", "--input", f"{corpus / 'text'}=1", "--max-epochs", "2",
        "--tokenizer", str(corpus / "tokenizer.json"), "--sequence-length", str(LENGTH), "--split-newlines", "0.3",
        "--fim-rate", "code=0.5", "--fim-spm-rate", "0.25", "--held-out-tokens", "1500", "--seed", "7",
        "--packing", "best_fit", "--master", "local[4]", "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "code: 7" in done.stderr and "it limits the whole" in done.stderr
    best = packed(work, corpus, packing="best_fit", tokens_per_part=PackSection().tokens_per_part)
    assert digests(tmp_path / "out" / "shards") == digests(pathlib.Path(best["shards"].folder))
    facts = [found["shards"].manifest["shards"]["packing"] for found in (best, stages)]
    assert facts[0]["windows_cut"] < facts[1]["windows_cut"] / 10
    assert facts[0]["padding"] <= facts[0]["tokens"] / 1000


def test_a_build_that_was_stopped_is_made_again(stages, corpus, work, monkeypatch):
    def stopped(*arguments):
        arguments[4](dict.fromkeys(("code", "text"), (0, 1 << 48)))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pack, "mix", stopped)
        packed(work, corpus)
    folder = pathlib.Path(work.path("shards"))
    assert list((folder / pack.SCRATCH).rglob("*.parquet")) and not (folder / "_lode.json").exists()
    packed(work, corpus)
    assert not (folder / pack.SCRATCH).exists()
    assert digests(folder) == digests(pathlib.Path(stages["shards"].folder))


def token_documents(
    folder: pathlib.Path, corpus: pathlib.Path, fingerprint: str | None = None
) -> pathlib.Path:
    tokenizer = TextTokenizer.load(str(corpus / "tokenizer.json"))
    rng = random.Random(1)
    rows = [
        {"id": f"t{n}", "source": "other", "tokens": tokenizer.encode(words(rng, 200)).tolist()}
        for n in range(90)
    ]
    schema = pa.schema([("id", pa.string()), ("source", pa.string()), ("tokens", pa.list_(pa.int32()))])
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "part-00000.parquet")
    about = {"fingerprint": "f", "tokenizer_fingerprint": fingerprint or tokenizer.fingerprint}
    about |= {
        "rows_out": len(rows),
        "rows_written": len(rows),
        "bytes": 0,
        "unit": "documents",
        "dropped": {},
    }
    (folder / "_lode.json").write_text(json.dumps(about))
    return folder


def test_tokens_are_packed_beside_text(corpus, tmp_path, work):
    tokens = token_documents(tmp_path / "tokens", corpus)
    parts = [pack.part(str(tokens), "tokens"), pack.part(str(corpus / "text"), "text")]
    section = PackSection(sequence_length=LENGTH, held_out_tokens=0)
    made = pack.tokenizer(work, parts, TokenizerSection(path=str(corpus / "tokenizer.json")), 0)
    windows = pack.tokenized(work, parts, made, section, FimSection())
    aside = pack.heldout(work, windows, made, section, 0)
    shards = pack.shards(
        work, windows, aside, made, MixtureSection(weights={"tokens": 1, "text": 1}, max_epochs=1),
        FimSection(rate={"text": 0.2}), section, 0,
    )  # fmt: skip
    assert abs(shards.manifest["mixture"]["tokens"]["share"] - 0.5) < 0.02
    whole = {row["id"]: row["tokens"] for row in pq.read_table(tokens).to_pylist()}
    lost = {row["id"] for row in dropped(shards, "remainder")}
    found = defaultdict(list)
    for (name, _, _), pieces in sorted(copies(shards).items()):
        found[name].append([token for _, piece in pieces for token in piece])
    unused = {row["id"] for row in dropped(shards, "over_mixture")}
    same = [
        [t for window in windows for t in window][1:-1] == whole[name]
        for name, windows in found.items()
        if name in whole and name not in lost | unused
    ]
    assert len(same) > 20 and all(same)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--input", "{text}=-1"], "weights are numbers, 0 or more"),
        (["--input", "{text}=nan"], "weights are numbers, 0 or more"),
        (["--input", "{text}"], "expected DIR=WEIGHT, such as corpus/math=0.3"),
        (["--input", "{text}=0", "--input", "{code}=0"], "the weights of all sources are 0"),
        (["--input", "{text}=1", "--input", "{text}/=1"], "two sources are called 'text'"),
        (["--input", "{text}=1", "--fim-rate", "txt=0.5"], "no --input has this name; did you mean 'text'?"),
        (["--input", "{text}=1", "--fim-rate", "text=2"], "a share lies between 0 and 1"),
        (["--input", "{text}=1", "--fim-rate", "half"], "expected a share such as 0.5"),
        (["--input", "{text}=1", "--max-epochs", "0"], "--max-epochs"),
        (["--input", "{empty}=1"], "there are no documents in it"),
        (["--input", "{shards}=1"], "these are packed sequences already"),
        (["--input", "{tokens}=1", "--fim-rate", "0.5"], "holds tokens; fill-in-the-middle needs the text"),
        (["--input", "{others}=1"], "its tokens are of another tokenizer"),
        (
            ["--input", "{text}=1", "--fim-rate", "0.5", "--tokenizer", "{plain}"],
            "has none of <｜fim▁begin｜>",
        ),
    ],
)
def test_what_cannot_be_packed_is_one_sentence(corpus, tmp_path, monkeypatch, capsys, arguments, said):
    from jobs.cli import app

    (tmp_path / "empty").mkdir()
    pq.write_table(pa.Table.from_pylist([], DOCUMENT), tmp_path / "empty" / "part-00000.parquet")
    (tmp_path / "shards").mkdir()
    pq.write_table(pa.Table.from_pylist([], SEQUENCE), tmp_path / "shards" / "part-00000.parquet")
    plain = json.loads((corpus / "tokenizer.json").read_text())
    plain["added_tokens"] = [token for token in plain["added_tokens"] if "fim" not in token["content"]]
    plain["model"]["vocab"] = {t: n for t, n in plain["model"]["vocab"].items() if "fim▁" not in t}
    (tmp_path / "plain.json").write_text(json.dumps(plain))
    places = {
        "text": corpus / "text", "code": corpus / "code", "empty": tmp_path / "empty", "plain": tmp_path / "plain.json",
        "tokens": token_documents(tmp_path / "tokens", corpus),
        "others": token_documents(tmp_path / "others", corpus, "f" * 32), "shards": tmp_path / "shards",
    }  # fmt: skip
    given = ["pack", *(argument.format(**places) for argument in arguments), "--out", str(tmp_path / "out")]
    given += [] if "--tokenizer" in given else ["--tokenizer", str(corpus / "tokenizer.json")]
    with pytest.raises(LodeError) as error:
        app(args=given, standalone_mode=False)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_source_without_documents_for_its_weight_is_named(corpus, work):
    with pytest.raises(LodeError, match="the source 'maths' has a weight but no documents"):
        packed(work, corpus, mixture={"weights": {"code": 1, "maths": 1}})


def test_documents_that_fill_no_sequence_or_are_all_held_out_are_named(corpus, work):
    with pytest.raises(LodeError, match="code: all of its documents are held out"):
        packed(work, corpus, mixture={"weights": {"code": 1}}, held_out_tokens=10**9)
    with pytest.raises(LodeError, match="do not fill a sequence"):
        packed(work, corpus, mixture={"weights": {"code": 1}, "tokens": 100}, sequence_length=1 << 16)


def test_rates_are_checked_before_any_stage_runs(recipe, tmp_path):
    with pytest.raises(LodeError, match=r"fim\.rate\.cod: there is no such source; did you mean 'code'"):
        load_recipe(str(recipe), ["fim.rate.cod=0.5"])
    with pytest.raises(LodeError, match=r"fim\.rate\.rest: mixture\.weights has no such source"):
        load_recipe(str(recipe), ["fim.rate.rest=0.5", "mixture.weights={code=1}"])
    with pytest.raises(LodeError, match="level"):
        load_recipe(str(recipe), ["fim.level=chunk"])
    plain = train_tokenizer(iter(["some words"] * 9), 280).to_str().replace("fim▁", "mif▁")
    (tmp_path / "plain.json").write_text(plain)
    changes = [f"tokenizer.path={tmp_path / 'plain.json'}", "sources.code.input=['installed:idna']"]
    text = recipe.read_text().replace("vocabulary_size = 512\n", "")
    (tmp_path / "plain.toml").write_text(text)
    with pytest.raises(LodeError, match="has none of"):
        check_inputs(load_recipe(str(tmp_path / "plain.toml"), changes))


def test_a_token_that_begins_and_ends_documents_stands_once(tmp_path):
    """As in GPT-2."""
    plain = train_tokenizer(iter(["two words"]), 300).to_str()
    plain = plain.replace(SPECIAL["bos"][0], "<|endoftext|>").replace(SPECIAL["eos"][0], "unused")
    (tmp_path / "tokenizer.json").write_text(plain)
    window = {"id": "a", "source": "s", "chunk": 0, "first": True, "last": True, "composed": False,
              "repeated": 0, "text": "two", "regions": [], "tokens": [7, 8]}  # fmt: skip
    place = str(tmp_path / "windows.parquet")
    pq.write_table(pa.Table.from_pylist([window], CHUNK), place)
    copies = Copies((place,), str(tmp_path / "tokenizer.json"), "", 64, 0, only=frozenset("a"))
    (made,) = copies([pa.record_batch([[0]], ["id"])])
    assert as_lists(made["tokens"]).to_pylist() == [[7, 8, 0]]


def test_tokens_travel_as_bytes_and_arrive_as_they_were():
    rows = [np.array(row, np.int32) for row in ([1, 2, 3], [], [2**31 - 1], [-1])]
    sent = as_bytes(rows)
    assert sent.type == pa.binary() and as_lists(sent).to_pylist() == [row.tolist() for row in rows]
    assert as_lists(sent.slice(1, 2)).to_pylist() == [[], [2**31 - 1]]
    some = pa.array([None, b"\1\0\0\0", None], pa.binary())
    assert as_lists(some).to_pylist() == [None, [1], None]
    assert as_lists(some[1:]).to_pylist() == [[1], None]
    assert as_lists(sent).type == PLACED.field("tokens").type


def test_buckets_take_equal_parts_of_the_keys():
    keys = pa.array([-(2**63), -1, 0, 2**63 - 1])
    assert bucket_of(keys, 4).to_pylist() == [0, 1, 2, 3]
    assert bucket_of(keys, 1).to_pylist() == [0, 0, 0, 0]
