"""Bits a byte by hand, and what each token of a tokenizer stands for."""

import json
import math

import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from corpus.tokens import SPECIAL, TextTokenizer, train_tokenizer
from pretrain.checkpoint import State, save_checkpoint
from pretrain.errors import TrainingError
from pretrain.evaluate import evaluate, token_bytes, trained_with
from pretrain.presets import model_preset

TEXTS = ["def grüße(名): return 'naïve'\n", "the whole of the text, 🜚 and all\n", "x" * 30 + "\n\n  y\n"]
LENGTH = 64


def saved(tokenizer: Tokenizer, folder) -> TextTokenizer:
    tokenizer.save(str(folder))
    return TextTokenizer.load(str(folder))


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> tuple[TextTokenizer, str]:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    return saved(train_tokenizer(TEXTS * 3, 300), path), str(path)


def sentence_piece(path) -> TextTokenizer:
    """BPE of Llama's make: blanks as ▁, unknown characters as bytes."""
    special = [names[1] for names in list(SPECIAL.values())[:2]]
    model = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    model.normalizer = normalizers.Replace(" ", "▁")
    model.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>", *special], show_progress=False)
    model.train_from_iterator(["the lode of the ore in the hill "] * 5, trainer)
    state = json.loads(model.to_str())
    at = len(state["model"]["vocab"])
    state["model"]["vocab"] |= {name: at + i for i, name in enumerate(bytes_)}
    return saved(Tokenizer.from_str(json.dumps(state)), path)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, words, build_model):
    """A model of that tokenizer, fresh; and its folder."""
    config = model_preset("tiny", vocab_size=words[0].vocabulary_size, max_position_embeddings=LENGTH)
    model = build_model(config)
    about = {"special_tokens": words[0].special, "tokenizer_fingerprint": words[0].fingerprint}
    state = State(1, 1, {"model": config.model_dump(mode="json")}, about, "", {})
    run = tmp_path_factory.mktemp("run")
    save_checkpoint(run / "checkpoints", state, {"model.safetensors": model.state_dict()}, 1)
    return model, run


def packed(tokenizer: TextTokenizer) -> list[dict]:
    """Documents of three sources, one rearranged for fill-in-the-middle, and padding, in a sequence each."""
    special = tokenizer.special
    rows = []
    for number, text in enumerate(TEXTS):
        spans, tokens = [], []
        for source, left, right in (("code", text[:9], text[9:]), ("web", text, "")):
            ids = [special["bos"]]
            if right:
                ids += [
                    special["fim_begin"],
                    *tokenizer.encode(left),
                    special["fim_hole"],
                    special["fim_end"],
                ]
                ids += tokenizer.encode(right).tolist()
            else:
                ids += tokenizer.encode(left).tolist()
            ids = [*map(int, ids), special["eos"]][: LENGTH - len(tokens)]
            spans.append(
                {"id": f"{number}{source}", "source": source, "start": len(tokens), "length": len(ids)}
            )
            tokens += ids
        if len(tokens) < LENGTH:
            spans.append({"id": None, "source": None, "start": len(tokens), "length": LENGTH - len(tokens)})
            tokens += [special["pad"]] * (LENGTH - len(tokens))
        rows.append({"tokens": tokens, "documents": spans})
    return rows


@pytest.fixture(scope="module")
def shards(tmp_path_factory, words, write_shards) -> str:
    tokenizer = words[0]
    return write_shards(
        tmp_path_factory.mktemp("shards") / "heldout", packed(tokenizer), tokenizer_fingerprint=tokenizer.fingerprint,
        vocabulary_size=tokenizer.vocabulary_size, special_tokens=tokenizer.special,
    )  # fmt: skip


def test_bits_a_byte_by_hand(checkpoint, shards, words):
    model, run = checkpoint
    tokenizer, path = words
    found = evaluate(run, shards, tokenizer=path, batch_sequences=2, device="cpu")
    control = set(tokenizer.special.values())
    for source in ("code", "web"):
        nats, everything, text = 0.0, [], b""
        for row in pq.read_table(shards).to_pylist():
            with torch.no_grad():
                log_p = model.logits(model(torch.tensor([row["tokens"]]))[0])[0].log_softmax(-1)
            for document in row["documents"]:
                if document["source"] != source:
                    continue
                places = range(max(document["start"], 1), document["start"] + document["length"])
                everything += [-log_p[i - 1, row["tokens"][i]].item() for i in places]
                told = [i for i in places if row["tokens"][i] not in control]
                nats -= sum(log_p[i - 1, row["tokens"][i]].item() for i in told)
                # Byte by byte, as the byte-level alphabet spells them: decoding may cut a character in two.
                text += tokenizer.decode([row["tokens"][i] for i in told]).encode()
        assert found[source]["tokens"] == len(everything)
        assert found[source]["loss"] == pytest.approx(sum(everything) / len(everything), rel=1e-5)
        assert found[source]["bytes"] == len(text)
        assert found[source]["bits_per_byte"] == pytest.approx(nats / math.log(2) / len(text), rel=1e-5)
    plain = evaluate(run, shards, device="cpu")
    assert plain == {
        name: {"loss": pytest.approx(of["loss"]), "tokens": of["tokens"]} for name, of in found.items()
    }


@given(st.text(max_size=60) | st.sampled_from(TEXTS))
def test_bytes_of_a_byte_level_tokenizer(words, text):
    tokenizer = words[0]
    sizes = token_bytes(tokenizer, 400)
    assert len(sizes) == 400 and sizes[tokenizer.encode(text)].sum() == len(
        text.encode("utf-8", "surrogatepass")
    )
    assert not sizes[list(tokenizer.special.values())].any()


def test_bytes_of_deepseeks_tokenizer(shared_data):
    tokenizer = TextTokenizer.load(str(shared_data / "tokenizer" / "deepseek" / "tokenizer.json"))
    sizes = token_bytes(tokenizer, tokenizer.vocabulary_size)
    for text in [*TEXTS, "<｜fim▁hole｜> spelt out", " \t\u3000文"]:
        assert sizes[tokenizer.encode(text)].sum() == len(text.encode())
    assert not sizes[list(tokenizer.reserved.values())].any()


@pytest.mark.parametrize("text", ["the ore of the hill", "grüße, 名 🜚\n\n", "  two  blanks "])
def test_bytes_of_a_sentence_piece_tokenizer(tmp_path, text):
    tokenizer = sentence_piece(tmp_path / "tokenizer.json")
    ids = tokenizer.encode(text)
    assert token_bytes(tokenizer, 0)[ids].sum() == len(text.encode())
    assert tokenizer.decode(ids) == text


def test_a_tokenizer_that_loses_text(tmp_path):
    model = Tokenizer(
        models.WordPiece({"<s>": 0, "</s>": 1, "[UNK]": 2, "word": 3, "##é": 4}, unk_token="[UNK]")
    )
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    model.add_special_tokens(["<s>", "</s>", "[UNK]"])
    tokenizer = saved(model, tmp_path / "tokenizer.json")
    with pytest.raises(TrainingError, match="bits a byte need a byte-level BPE"):
        token_bytes(tokenizer, 5)


def test_what_does_not_belong_together(checkpoint, shards, words, write_shards, tmp_path):
    _, run = checkpoint
    rows = packed(words[0])
    other = write_shards(tmp_path / "other", rows, vocabulary_size=words[0].vocabulary_size)
    with pytest.raises(TrainingError, match="packed with another tokenizer"):
        evaluate(run, other, device="cpu")
    path = tmp_path / "tokenizer.json"
    train_tokenizer(["something else " * 20], 290).save(str(path))
    with pytest.raises(TrainingError, match="packed with another tokenizer"):
        evaluate(run, shards, tokenizer=str(path), device="cpu")


def test_where_a_fingerprint_is_told(checkpoint, words, tmp_path):
    _, run = checkpoint
    marks = [
        trained_with(path).tokenizer
        for path in (run, run / "checkpoints", *(run / "checkpoints").iterdir(), tmp_path)
    ]
    assert marks == [words[0].fingerprint] * 3 + [None]
