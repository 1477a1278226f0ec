import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import LodeError
from corpus.tokens import SPECIAL, TextTokenizer, check, train_tokenizer

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
    assert ids == tokenizer.encode(text)
    assert starts == sorted(starts)
    for place in range(1, len(ids)):
        if starts[place] > starts[place - 1]:
            assert tokenizer.decode(ids[place:]) == text[starts[place] :]


def test_long_texts_are_encoded_in_pieces(tokenizer, monkeypatch):
    monkeypatch.setattr("corpus.tokens.PIECE_CHARS", 50)
    text = "\n".join(TEXTS) + "x" * 300
    assert tokenizer.decode(tokenizer.encode(text)) == text


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


def test_a_check_says_what_is_missing(tokenizer):
    found = check(tokenizer, [("en", "hello"), ("ja", "数学")])
    assert found["missing"] == [] and found["inexact_round_trips"] == 0
    assert set(found["characters_per_token"]) == {"en", "ja"}


def test_what_is_not_a_tokenizer_is_said_so(tmp_path):
    with pytest.raises(LodeError, match="no such tokenizer file"):
        TextTokenizer.load(str(tmp_path / "none.json"))
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(LodeError, match="not a Hugging Face tokenizer"):
        TextTokenizer.load(str(tmp_path / "bad.json"))
