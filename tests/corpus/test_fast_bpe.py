"""The oracle is `tokenizers` itself: the fast way gives its ids or refuses."""

import json
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from corpus import fast_bpe
from corpus.fast_bpe import FastBPE, Splitter, UnknownPattern, blocks, byte_level, members
from corpus.tokens import TextTokenizer, pre_tokenizer

EVERY_CHARACTER = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
CL100K = CONTRACTIONS + (
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{CONTRACTIONS}?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_level_after(*steps):
    return pre_tokenizers.Sequence(
        [*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )


def split(pattern: str):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


STYLES = {
    "gpt2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "llama3": byte_level_after(split(CL100K)),
    "qwen2": byte_level_after(split(CL100K.replace(r"\p{N}{1,3}", r"\p{N}"))),
    "o200k": byte_level_after(split(O200K)),
    "starcoder": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "deepseek-v3": pre_tokenizer(),
}
TEXTS = [
    "def f(x):\n    return x + 1  # it's DON'T\n\n\n\tif (a[i] != 0x1F) {\r\n\t\treturn;\r\n\t}\n",
    "The integral $\\int_0^1 x^2 dx$ is 1/3; see https://example.org/a?b=12345.\n\n\nWe'll go on...\n",
    "数学は美しい。「カタカナ・ひらがな」ゟ゠1234567\n高等数学，线性代数！\n",
    "Été à la plage — naïve café “quotes” 👩‍👩‍👧‍👦🇫🇷 𝟏𝟐𝟑 𝒳 e\u0301 \u200d\u00a0\u2028x \u0301a \x00\x07z",
    "한국어 문장입니다. Русский текст, ещё один. ไทย עברית العربية ١٢٣",
]


def made(style: str, size: int = 900, **model) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = STYLES[style]
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    return tokenizer


@pytest.fixture(scope="module", params=STYLES)
def pair(request) -> tuple[Tokenizer, FastBPE]:
    tokenizer = made(request.param)
    if request.param == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    if request.param == "llama3":
        tokenizer.model.ignore_merges = True
    return tokenizer, FastBPE(tokenizer)


def same(pair: tuple[Tokenizer, FastBPE], text: str) -> None:
    tokenizer, fast = pair
    theirs = tokenizer.encode(text, add_special_tokens=False)
    assert fast.encode(text).tolist() == theirs.ids
    try:
        ids, starts = fast.encode_with_offsets(text)
    except UnknownPattern:
        assert tokenizer.normalizer is not None and tokenizer.normalizer.normalize_str(text) != text
        return
    assert ids.dtype == np.int32 and starts.dtype == np.int64 and ids.tolist() == theirs.ids
    expected: list[int] = []
    end = 0
    for start, stop in theirs.offsets:
        expected.append(start if start >= end else expected[-1])
        end = max(end, stop)
    assert starts.tolist() == expected


PIECES = [
    *"\n\t\x00aA1. \u00a0\u3000\u0085\u2028\x1c\u0301\u3099\u200d\ufeff\ue000\u0378é٣²数゠・が“€",
    *"\U0001f9ff\U00010400\U000e0100\U0010fffd𝟏ǅ",
    *(
        "  ",
        "\r\n",
        "\n\n",
        "Word",
        "don't",
        "'S",
        "'ſ",
        "'LL",
        "e\u0301",
        "1234",
        "数学",
        "...",
        "/*",
        "//\n",
        "。\n",
    ),
    *("👩‍👩‍👧", "🇫🇷"),
]
hostile = st.lists(
    st.one_of(st.sampled_from(PIECES), st.text(st.characters(exclude_categories=["Cs"]), max_size=6)),
    max_size=12,
).map("".join)


@settings(max_examples=60)
@given(hostile)
def test_any_text_gets_the_same_ids_and_places(pair, text):
    same(pair, text)


def same_words(pair: tuple[Tokenizer, FastBPE], text: str) -> None:
    tokenizer, fast = pair
    words = [word for run in fast.splitter.split(text) for word in fast.splitter.split_run(run)]
    theirs = tokenizer.pre_tokenizer.pre_tokenize_str(text)
    assert words == [text[start:end] for _, (start, end) in theirs]


def refused(fast: FastBPE, char: str) -> bool:
    try:
        fast.encode(char)
    except UnknownPattern:
        return True
    return False


def test_every_code_point_is_taken_for_what_the_engine_takes_it(pair, request):
    step = 1 if "deepseek" in request.node.name else 64
    characters = EVERY_CHARACTER
    known, others = characters[:0x3F800:step] + characters[0xDF800:0xEF800:step], characters[0x3F800:0xDF800]
    if (
        "starcoder" in request.node.name
    ):  # `Digits` knows a newer Unicode: a digit that is none elsewhere is refused
        known = "".join(char for char in known if not refused(pair[1], char))
        assert len(known) > 5000
    assert (known[0], others[0], others[-1]) == ("\x00", "\U00040000", "\U000dffff")
    for start in range(0, len(known), 50_000):
        same_words(pair, " a".join(known[start : start + 50_000]))
    # Nothing is there (nor in the private planes at the end); they stay together wherever that is so.
    same_words(pair, f"a{others[::step]} b{characters[0xEF800::step]} c")


def test_classes_are_those_of_the_engine_for_every_code_point():
    for expression in (r"\p{L}", r"\p{N}", r"\p{M}", r"\s", r"[^\r\n\p{L}\p{P}\p{S}]", r"\p{Co}", r"\p{Cn}"):
        kept = normalizers.Replace(Regex(expression), "").normalize_str(EVERY_CHARACTER)
        mask = members(expression)
        assert "".join(char for char in EVERY_CHARACTER if not mask[ord(char)]) == kept


def test_whatever_folds_to_a_contraction_is_one(pair):
    folding = [c for c in EVERY_CHARACTER if not c.lower() == c.upper() == c.casefold() == c]
    same_words(pair, " ".join(f"x'{c}x '{c} '{c}e 'r{c} 'v{c} '{c}l 'l{c}" for c in folding))


def test_long_words_take_linear_time_and_are_exact(pair):
    for text in (
        "a" * 100_000,
        "!" * 100_000,
        "数" * 30_000,
        " " * 100_000,
        "\n" * 100_000,
        "\x00" * 3000,
        "9" * 10_000,
    ):
        same(pair, text + "b")
    # A word of a million characters: each merge must not look at all of them again.
    word = "".join(map(chr, np.random.default_rng(0).integers(97, 123, 1_000_000)))
    ids = pair[1].encode(word)
    assert pair[0].decode(ids.tolist(), skip_special_tokens=False) == word


def test_a_text_is_cut_where_the_ids_stay_the_same(pair, monkeypatch):
    text = "".join(TEXTS) * 3 + "one two\nthree\n\n  four\n数学\n" * 10 + "x" * 500
    whole, starts = (
        pair[1].encode_with_offsets(normal := pair[0].normalizer.normalize_str(text))
        if pair[0].normalizer
        else pair[1].encode_with_offsets(normal := text)
    )
    monkeypatch.setattr(fast_bpe, "BLOCK_CHARS", 7)
    assert len(list(blocks(normal))) > 40 and "".join(blocks(normal)) == normal
    ids, again = pair[1].encode_with_offsets(normal)
    assert ids.tolist() == whole.tolist() and again.tolist() == starts.tolist()


def test_the_cache_is_bounded_and_what_is_in_use_stays(monkeypatch):
    monkeypatch.setattr(fast_bpe, "GENERATION_BYTES", 20_000)
    tokenizer = made("deepseek-v3")
    fast = FastBPE(tokenizer)
    for number in range(0, 30_000, 50):
        text = "often " + " ".join(
            f"w{chr(97 + n % 26)}x{np.base_repr(n, 26)}" for n in range(number, number + 50)
        )
        assert fast.encode(text).tolist() == tokenizer.encode(text).ids
        assert len(fast.cache) + len(fast.cache.older) < 400
        assert "often" in fast.cache or "often" in fast.cache.older
    fast.encode("y" * 1000)
    assert "y" * 1000 not in fast.cache


def test_threads_may_share_one(monkeypatch):
    monkeypatch.setattr(fast_bpe, "GENERATION_BYTES", 20_000)
    tokenizer = made("deepseek-v3")
    fast = FastBPE(tokenizer)
    texts = [
        "".join(chr(97 + n * k % 26) + " " * (n % 3 == 0) for n in range(2000)) for k in range(1, 26)
    ] * 4
    expected = [tokenizer.encode(text).ids for text in texts]
    wrong: list[int] = []

    def work():
        wrong.extend(k for k, text in enumerate(texts) if fast.encode(text).tolist() != expected[k])

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not wrong


REFUSED = {
    "a blank before every text": pre_tokenizers.ByteLevel(add_prefix_space=True),
    "not byte-level": pre_tokenizers.Whitespace(),
    "SentencePiece": pre_tokenizers.Metaspace(),
    "no split": pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    "matches thrown away": byte_level_after(pre_tokenizers.Split(Regex(r"\s+"), "removed")),
    "a string": byte_level_after(pre_tokenizers.Split(" ", "isolated")),
    "look-behind": byte_level_after(split(r"(?<=a)b|.")),
    "an anchor": byte_level_after(split(r"\s+$|\S+")),
    "words of the engine's own": byte_level_after(split(r"\w+|\W+")),
    "cases ignored otherwise": byte_level_after(split(r"(?i:stra\u00dfe)|\p{L}+")),
    "steps that overlap": byte_level_after(split(r"\p{N}+"), split(r"[0-9]{1,3}"), split(r"\p{L}+")),
    "first steps that are not runs": byte_level_after(split(r"\s?\p{L}+"), split(r"\p{N}")),
    "what may match nothing": byte_level_after(split(r"\p{L}*")),
    "words over a blank": byte_level_after(split(r"\p{L}+(?: \p{L}+)*|[^\p{L}]")),
    "words over a blank, of longer ones only": byte_level_after(
        split(r"\p{L}{4}(?: \p{L}{3})*|\p{L}+|[^\p{L}]")
    ),
    "words over a line break": byte_level_after(split(r"[^\n]*\n?[^\n]+|\n+")),
    "all but numbers left together": byte_level_after(split(r"\p{N}{1,3}")),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_not_understood_is_refused(why):
    tokenizer = made("gpt2")
    tokenizer.pre_tokenizer = REFUSED[why]
    with pytest.raises(UnknownPattern):
        FastBPE(tokenizer)


def test_the_proof_finds_a_pattern_that_python_reads_otherwise(monkeypatch):
    """Were a class wrong, the tokenizer would be refused when it is loaded."""
    letters = members(r"\p{L}").copy()
    letters[ord("z")] = False
    monkeypatch.setattr(
        fast_bpe, "members", lambda expression: letters if expression == r"\p{L}" else members(expression)
    )
    with pytest.raises(UnknownPattern, match="otherwise"):
        Splitter(made("gpt2"))


def test_byte_level_letters_are_those_of_the_library():
    for text in (*TEXTS, *PIECES):
        (theirs,) = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)
        assert byte_level(text) == theirs[0]


def test_real_texts_get_the_ids_of_the_released_tokenizer(shared_data):
    loaded = TextTokenizer.load(str(shared_data / "tokenizer" / "deepseek" / "tokenizer.json"))
    fast = loaded._fast
    assert fast is not None
    plain = Tokenizer(loaded.tokenizer.model)
    plain.pre_tokenizer = loaded.tokenizer.pre_tokenizer
    texts = [TEXTS[0] * 20, *TEXTS]
    for file in ("humaneval.jsonl", "cmath_dev.jsonl", "minif2f_test.jsonl", "agieval_gaokao_mathqa.jsonl"):
        texts += (shared_data / "benchmarks" / file).read_text(encoding="utf-8").splitlines()[:150]
    for text in texts:
        same((plain, fast), text)


def test_gpt2_of_its_own_files(shared_data):
    folder = shared_data / "tokenizer" / "gpt2"
    vocabulary = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    lines = (folder / "vocab.bpe").read_text(encoding="utf-8").splitlines()[1:]
    tokenizer = Tokenizer(models.BPE(vocabulary, [tuple(line.split(" ")) for line in lines if line]))
    tokenizer.pre_tokenizer = STYLES["gpt2"]
    fast = FastBPE(tokenizer)
    for text in TEXTS:
        same((tokenizer, fast), text)
