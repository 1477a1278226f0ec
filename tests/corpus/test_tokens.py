import json
import re
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from corpus import fast_bpe
from corpus.errors import LodeError
from corpus.tokens import SPECIAL, TextTokenizer, check, pre_tokenizer, train_tokenizer

TEXTS = [
    "def f(x):\n    return x + 1\n",
    "The integral $\\int_0^1 x^2 dx$ is 1/3.",
    "数学は美しい。 Été 1234567",
] * 20
SPECIAL_STRINGS = [name for names in SPECIAL.values() for name in names]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> TextTokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    path.write_text(train_tokenizer(iter(TEXTS), 500).to_str(), encoding="utf-8")
    return TextTokenizer.load(str(path))


hostile = st.lists(st.one_of(st.text(max_size=20), st.sampled_from(SPECIAL_STRINGS)), max_size=8).map("".join)


@given(hostile)
def test_any_text_comes_back_and_never_becomes_a_control_token(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not set(ids) & set(tokenizer.special.values())


@given(hostile)
def test_offsets_point_at_the_characters(tokenizer, text):
    ids, starts = tokenizer.encode_with_offsets(text)
    assert np.array_equal(ids, tokenizer.encode(text))
    assert (np.diff(starts) >= 0).all()
    for place in range(1, len(ids)):
        if starts[place] > starts[place - 1]:
            assert tokenizer.decode(ids[place:]) == text[starts[place] :]


def test_training_twice_gives_the_same_tokenizer():
    assert train_tokenizer(iter(TEXTS), 500).to_str() == train_tokenizer(iter(TEXTS), 500).to_str()


def test_the_released_tokenizer_has_its_sentinels(shared_data):
    loaded = TextTokenizer.load(str(shared_data / "tokenizer" / "deepseek" / "tokenizer.json"))
    assert loaded.vocabulary_size == 129_280
    assert (loaded.special["fim_hole"], loaded.special["fim_begin"], loaded.special["fim_end"]) == (
        128800,
        128801,
        128802,
    )
    text = "a <｜fim▁begin｜> b <｜User｜> c"
    assert loaded.decode(loaded.encode(text)) == text
    assert not set(loaded.encode(text)) & set(loaded.tokenizer.get_added_tokens_decoder())


def test_special_strings_get_the_ids_of_a_tokenizer_without_them(shared_data):
    path = shared_data / "tokenizer" / "deepseek" / "tokenizer.json"
    loaded = TextTokenizer.load(str(path))
    file = json.loads(path.read_text(encoding="utf-8"))
    plain = Tokenizer.from_str(json.dumps(file | {"added_tokens": []}))
    for name in loaded.reserved:
        text = f"x {name}y {name[:-1]} {name}{name}\n"
        assert loaded.encode(text).tolist() == plain.encode(text, add_special_tokens=False).ids


def test_the_pre_tokenizer_is_that_of_the_released_tokenizer(shared_data):
    """So it allows the same merges; and those are there."""
    theirs = TextTokenizer.load(str(shared_data / "tokenizer" / "deepseek" / "tokenizer.json")).tokenizer
    characters = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    text = characters + " a".join(characters[:0x3000])
    text += "".join(map("".join, product("aZé1٣数か・._$。~ \n\r\t\u00a0\u0301\x00’", repeat=3)))
    ours = pre_tokenizer().pre_tokenize_str(text)
    assert ours == theirs.pre_tokenizer.pre_tokenize_str(text)


def odd(folder, model: models.Model, name: str = "odd.json", **parts) -> TextTokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.add_special_tokens(["<s>", "</s>", "<pad>"])
    for part, value in parts.items():
        setattr(tokenizer, part, value)
    tokenizer.save(str(folder / name))
    return TextTokenizer.load(str(folder / name))


def test_a_model_that_knows_special_strings_as_words_does_not_get_to_use_them(tmp_path):
    """Unigram takes the likeliest pieces, and nothing is likelier than a control token at 0."""
    pieces = [("<unk>", -1.0), ("<s>", 0.0), ("</s>", 0.0)] + [(c, -5.0) for c in "abc<>/s "]
    loaded = odd(tmp_path, models.Unigram(pieces, 0, False))
    assert loaded._fast is None
    text = "a<s>b</s>c<s><s>"
    assert loaded.special["bos"] == 1 and 1 in loaded._encoded(text)[0]  # so it would
    ids, starts = loaded.encode_with_offsets(text)
    assert not {1, 2} & set(ids.tolist()) and ids.tolist() == loaded.encode(text).tolist()
    assert [text[a:b] for a, b in pairwise([*starts.tolist(), len(text)])] == list(text)


def test_a_sentencepiece_like_tokenizer_is_left_to_the_library(tmp_path):
    """It sets a blank before every text it gets: one is not to be cut, however long."""
    letters = {c: i for i, c in enumerate("▁abcdefghijklmnopqrstuvwxyz.\n<>/")}
    loaded = odd(
        tmp_path,
        models.BPE(letters | {"<unk>": 90}, [], unk_token="<unk>"),
        normalizer=normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
        decoder=decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]),
    )
    assert loaded._fast is None and not loaded._cuttable
    text = "a line of it.\nand more of it</s>\n" * 12_000
    assert loaded.decode(loaded.encode(text)) == text
    assert loaded.encode("a\u00e9").tolist() == [0, 1, 90]  # the unknown token is no control token


def test_a_special_string_that_a_normalizer_makes_does_not_vanish(tmp_path):
    pieces = [("<unk>", -1.0), ("<s>", 0.0), ("</s>", 0.0)] + [(c, -5.0) for c in "ab<>/s "]
    loaded = odd(tmp_path, models.Unigram(pieces, 0, False), normalizer=normalizers.NFKC())
    for text in ("a\uff1cs\uff1eb", "\uff1c\uff1cs\uff1es>", "\uff1cs>" * 3):
        plain = text.replace("\uff1c", "<").replace("\uff1e", ">")
        ids, starts = loaded.encode_with_offsets(text)
        assert [loaded.tokenizer.id_to_token(i) for i in ids.tolist()] == list(plain)
        assert starts.tolist() == list(range(len(text))) and loaded.encode(text).tolist() == ids.tolist()


PHRASES = "the end of the line\nand of the end of the line 12 of the\n\nend of it\n" * 9


@pytest.mark.parametrize("style", ["phrases", "lines", "no split"])
def test_a_text_whose_tokens_run_over_blanks_is_not_cut(tmp_path, monkeypatch, style):
    monkeypatch.setattr(fast_bpe, "BLOCK_CHARS", 50)
    tokenizer = Tokenizer(models.BPE())
    if style == "no split":
        tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    else:
        pattern = {"phrases": r"\p{L}+(?: \p{L}+)*|[^\p{L}]", "lines": r"[^\n]*\n+|[^\n]+"}[style]
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(pattern), "isolated"),
             pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )  # fmt: skip
    tokenizer.train_from_iterator([PHRASES], trainers.BpeTrainer(vocab_size=300, show_progress=False))
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.save(str(tmp_path / "phrases.json"))
    loaded = TextTokenizer.load(str(tmp_path / "phrases.json"))
    assert loaded._fast is None and not loaded._cuttable
    assert loaded.encode(PHRASES).tolist() == tokenizer.encode(PHRASES, add_special_tokens=False).ids


def test_blanks_of_some_width_that_were_added_are_tokens_like_others(tmp_path):
    loaded = odd(
        tmp_path,
        models.BPE({char: i for i, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []),
        pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoder=decoders.ByteLevel(),
    )
    loaded.tokenizer.add_tokens([AddedToken("    ", normalized=True), AddedToken("<tool>", normalized=False)])
    again = TextTokenizer(loaded.tokenizer, "", loaded.special)
    wide, tool = (loaded.tokenizer.token_to_id(name) for name in ("    ", "<tool>"))
    text = "    if <tool> x:</s>"
    ids, starts = again.encode_with_offsets(text)
    assert wide in ids and tool not in ids and again.special["eos"] not in ids
    assert again.decode(ids) == text and starts[1] == 4


def test_a_character_that_was_added_as_a_word_does_not_vanish(tmp_path):
    loaded = odd(tmp_path, models.BPE({"a": 0, "b": 1, "\u3002": 2}, []))
    loaded.tokenizer.add_tokens(["\u3002", "ab"])
    again = TextTokenizer(loaded.tokenizer, "", loaded.special)
    assert again.encode("a\u3002b").tolist() == [0, 2, 1]


def test_a_text_that_only_the_library_understands_is_left_to_it(tmp_path):
    """`Digits` knows a newer Unicode than the patterns: for some digits there is no other character like them."""
    letters = {char: i for i, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    digits = pre_tokenizers.Digits(individual_digits=True)
    before = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    loaded = odd(tmp_path, models.BPE(letters, []), pre_tokenizer=before, decoder=decoders.ByteLevel())
    assert loaded._fast is not None
    for text in ("a\U00011de0 b</s>", "a\U0001d7ce b</s>"):
        ids, starts = loaded.encode_with_offsets(text)
        assert loaded.decode(ids) == text and ids.tolist() == loaded.encode(text).tolist()
        assert starts.tolist() == [0, 1, 1, 1, 1, *range(2, len(text))]


COMBINED = "f(x);\n\n}\n\n\n# a.\r\nb!\n" * 40


@pytest.fixture(scope="module")
def joining(tmp_path_factory) -> TextTokenizer:
    path = tmp_path_factory.mktemp("joining") / "tokenizer.json"
    path.write_text(train_tokenizer([COMBINED, *TEXTS], 600).to_str(), encoding="utf-8")
    return TextTokenizer.load(str(path))


def test_splitting_takes_punctuation_and_line_breaks_apart_and_nothing_else(joining):
    ids = joining.encode(COMBINED)
    texts = [joining.decode([i]) for i in ids.tolist()]
    joined = [bool(re.fullmatch(r" ?[^\w\s]+[\r\n]+", text)) for text in texts]
    assert 0 < sum(joined) < len(ids) and joining.joined_tokens >= len({*ids[joined].tolist()})
    every = joining.split(ids, 1.0, "key")
    assert joining.decode(every) == COMBINED and every.dtype == np.int32
    assert not any(re.search(r"[^\w\s][\r\n]", joining.decode([i])) for i in every.tolist())
    expected = [piece for text, both in zip(texts, joined, strict=True)
                for piece in (re.fullmatch(r"(.*?)([\r\n]+)", text).groups() if both else [text])]  # fmt: skip
    # Line breaks that have no token of their own are several; but for that every other token is as it was.
    ours, theirs = ("|".join(pieces) for pieces in ([joining.decode([i]) for i in every.tolist()], expected))
    assert re.sub(r"(?<=[\r\n])\|(?=[\r\n])", "", ours) == re.sub(r"(?<=[\r\n])\|(?=[\r\n])", "", theirs)
    assert joining.split(ids, 0.0, "key") is ids
    assert joining.split(ids[:0], 1.0, "key").tolist() == []


def test_a_share_of_them_is_split_by_key_and_place(joining):
    ids = np.tile(joining.encode(COMBINED), 25)
    count = len(joining.split(ids, 1.0, 0)) - len(ids)
    for rate in (0.1, 0.5):
        made = joining.split(ids, rate, "document 1")
        assert joining.decode(made) == COMBINED * 25
        assert abs(len(made) - len(ids) - rate * count) < 4 * (rate * (1 - rate) * count) ** 0.5
    assert np.array_equal(joining.split(ids, 0.5, "a"), joining.split(ids, 0.5, "a"))
    assert not np.array_equal(joining.split(ids, 0.5, "a"), joining.split(ids, 0.5, "b"))
    # What comes after does not matter to what comes before.
    part = joining.split(ids[:500], 0.5, "a")
    assert np.array_equal(part, joining.split(ids, 0.5, "a")[: len(part)])


def test_the_released_tokenizer_has_joined_tokens(shared_data):
    loaded = TextTokenizer.load(str(shared_data / "tokenizer" / "deepseek" / "tokenizer.json"))
    (i,) = loaded.encode(".\n\n").tolist()
    assert [loaded.decode([part]) for part in loaded.split(np.array([i, i], np.int32), 1.0, 0)] == [
        ".",
        "\n\n",
    ] * 2
    assert loaded.joined_tokens == 799


def test_no_control_token_comes_of_splitting(tmp_path):
    """Were `##` + a line break a token and `##` a control token that the model also makes of two signs."""
    letters = {char: i for i, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    words = letters | {"##": 256, "##\u010a": 257, ";\u010a": 258}
    merges = [("#", "#"), ("##", "\u010a"), (";", "\u010a")]
    loaded = odd(tmp_path, models.BPE(words, merges), decoder=decoders.ByteLevel())
    loaded.tokenizer.add_special_tokens(["##"])
    again = TextTokenizer(loaded.tokenizer, "", loaded.special)
    assert again.reserved["##"] == 256
    assert again.split(np.array([257, 258], np.int32), 1.0, 0).tolist() == [257, words[";"], words["\u010a"]]


def test_a_check_says_what_a_tokenizer_does(tokenizer):
    texts = [("a", "en", "hello"), ("b", "ja", "数学"), ("c", None, f"x {SPECIAL['eos'][0]}")]
    found = check(tokenizer, iter(texts))
    assert found["missing"] == [] and found["changed"] == 0 and found["first_changed"] is None
    assert set(found["languages"]) == {"en", "ja", "unknown"} and found["texts"] == 3
    ids = len(tokenizer.encode("数学"))
    assert found["languages"]["ja"] == {
        "texts": 1,
        "tokens": ids,
        "characters_per_token": round(2 / ids, 3),
        "bytes_per_token": round(6 / ids, 3),
    }
    assert found["texts_with_special_strings"] == 1 and found["special_strings"] == {SPECIAL["eos"][0]: 1}


def test_a_check_names_the_first_text_that_changes(tmp_path):
    loaded = odd(
        tmp_path,
        models.BPE({char: i for i, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []),
        normalizer=normalizers.NFC(),
        pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoder=decoders.ByteLevel(),
    )
    found = check(
        loaded, [("a", "en", "as it was"), ("b", "fr", "l'e\u0301te\u0301"), ("c", "fr", "e\u0301")]
    )
    assert found["changed"] == 2 and found["missing"] == ["fim_begin", "fim_hole", "fim_end"]
    assert found["first_changed"] == {
        "id": "b",
        "character": 2,
        "text": "l'e\u0301te\u0301",
        "decoded": "l'\u00e9t\u00e9",
    }


def test_a_tokenizer_is_not_trained_on_nothing_or_for_nothing():
    with pytest.raises(LodeError, match="256 bytes and 6 special tokens"):
        train_tokenizer(TEXTS, 261)
    with pytest.raises(LodeError, match="no text"):
        train_tokenizer(["", ""], 500)


def test_what_is_not_a_tokenizer_is_said_so(tmp_path):
    with pytest.raises(LodeError, match="no such tokenizer file"):
        TextTokenizer.load(str(tmp_path / "none.json"))
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(LodeError, match="not a Hugging Face tokenizer"):
        TextTokenizer.load(str(tmp_path / "bad.json"))
