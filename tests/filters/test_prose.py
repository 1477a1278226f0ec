"""Verdicts of datatrove's filters, and words as spaCy finds them. Every expected reason, edited text and list of words
was printed by datatrove 0.10.1 with spaCy 3.8.18 for the same text; `benchmarks/prose_rules.py` compares whole
corpora."""

import inspect
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.prose import C4, FineWeb, GopherQuality, GopherRepetition, Prose
from filters.words import MAX_PIECES, Splitter, splitter

PROSE = (
    "The ferry to the northern islands leaves at half past six, and most of the people who take it have work to do "
    "on the other side. They sit with their backs to the windows and talk about the price of diesel.\n"
    "By the time the harbour is out of sight, the kitchen has opened and someone has asked for tea. Nobody minds "
    "the noise of the engine, which is older than the captain and has outlived two of his brothers.\n"
    "In winter the crossing can take twice as long. The crew then ties everything down, and the passengers learn "
    "what their breakfast is worth. It is a good school for patience!\n"
    "Would they rather have a bridge? Some would, of course. The fishermen say that a bridge brings visitors, and "
    "that visitors bring opinions about fish."
)
WORDS = PROSE.split()
TEXTS = {
    "prose": PROSE,
    "nothing": "",
    "blanks": " \n\n \t\n",
    "paragraph again": "\n\n".join([PROSE[:90]] * 2 + [PROSE[100:180]]),
    "long paragraph again": "\n\n".join([PROSE[:400], *(f"Part {i} of it." for i in range(9)), PROSE[:400]]),
    "line again": "\n".join([PROSE[:40]] * 2 + [PROSE[50:300]]),
    "long line again": "\n".join([PROSE[:190], *(f"Part {i} of it." for i in range(9)), PROSE[:190]]),
    "two words": PROSE[:60] + " " + "extraordinary circumstances " * 5 + PROSE[60:300],
    "three words": " ".join(f"very extraordinary circumstances {i}{i}" for i in range(4)) + PROSE[:430],
    "five words": " ".join(f"{i} {PROSE[200:270]} {WORDS[i]}" for i in range(3)) + PROSE[:500],
    "ten words": PROSE[:125] + "; " + PROSE,
    "short": PROSE[:120],
    "letters": ("a b c d e f of to we be " * 8).strip(),
    "compounds": "the of to and be " + " ".join(word * 4 for word in WORDS if len(word) > 4),
    "hashes": PROSE + " # " * 30,
    "ellipses": PROSE.replace(". ", "... ").replace(", ", " … ").replace(" the ", " the... "),
    "bullets": "\n".join(f"- {line}" for line in PROSE.replace(". ", ".\n").split("\n")),
    "lines that end nowhere": "\n".join(
        line + (" …" if i % 2 else ".") for i, line in enumerate(PROSE.split("\n") * 2)
    ),
    "numbers": PROSE + " " + " ".join(str(i) for i in range(100, 200)),
    "no stop words": " ".join(
        word for word in WORDS if word not in ("the", "be", "to", "of", "and", "that", "have", "with")
    ),
    "lorem ipsum": PROSE + "\nHere stood Lorem Ipsum for a while.",
    "curly bracket": PROSE + "\nA set {1, 2} has two members.",
    "notices": PROSE
    + "\nThis site uses cookies to serve you.\nPlease enable Javascript to go on.\nRead our Terms of Use now.",
    "citations": PROSE.replace("diesel.", "diesel.[12]").replace("tea.", "tea[citation needed].")
    + "\nSee also[edit]",
    "few sentences": PROSE[:190],
    "headings": "# The ferry\n\n" + PROSE.replace("\n", "\n\n## More\n\n"),
    "a word too long": PROSE + "\nThis one is " + "x" * 1001 + " too long.",
    "no ends of lines": PROSE.replace(". ", ",").replace(".\n", ",\n").replace("!", ",").rstrip("."),
    "short lines": "\n\n".join(" ".join(WORDS[i : i + 4]) + "." for i in range(0, 120, 4)),
    "a list": "\n".join(
        f"{a.strip('.,?!').title() * 6} {b.strip('.,?!') * 6}."
        for a, b in zip(WORDS[::2], WORDS[1::2], strict=False)
    ),
    "many lines": "\n".join(f"{word} is something else over here." for word in dict.fromkeys(WORDS))
    + "\n" * 300,
    "twice the same": PROSE.split("\n")[0] + "\n" + PROSE + "\n" + PROSE.split("\n")[0],
}
FILTERS = {
    "gopher_repetition": GopherRepetition,
    "gopher_quality": GopherQuality,
    "c4": C4,
    "fineweb": FineWeb,
}
# What gopher_repetition, gopher_quality, c4 and fineweb said, each on the whole text.
REASONS = {
    "prose": (None, None, None, None),
    "nothing": ("empty", "gopher_short_doc", "too_few_sentences", "empty"),
    "blanks": (None, "gopher_short_doc", "too_few_sentences", "empty"),
    "paragraph again": ("dup_para_frac", None, "too_few_sentences", "line_punct_ratio"),
    "long paragraph again": ("dup_para_char_frac", None, None, "short_line_ratio"),
    "line again": (None, None, "too_few_sentences", "char_dup_ratio"),
    "long line again": ("dup_line_char_frac", None, None, "short_line_ratio"),
    "two words": ("top_2_gram", None, "too_few_sentences", None),
    "three words": ("top_3_gram", None, "too_few_sentences", None),
    "five words": ("duplicated_5_n_grams", None, None, None),
    "ten words": ("duplicated_9_n_grams", None, None, None),
    "short": (None, "gopher_short_doc", "too_few_sentences", "line_punct_ratio"),
    "letters": ("top_3_gram", "gopher_below_avg_threshold", "too_few_sentences", "line_punct_ratio"),
    "compounds": (None, "gopher_above_avg_threshold", None, None),
    "hashes": ("top_4_gram", "gopher_too_many_hashes", None, None),
    "ellipses": (None, "gopher_too_many_ellipsis", None, None),
    "bullets": (None, "gopher_too_many_bullets", None, None),
    "lines that end nowhere": ("dup_line_frac", "gopher_too_many_end_ellipsis", None, "char_dup_ratio"),
    "numbers": (None, "gopher_below_alpha_threshold", None, None),
    "no stop words": (None, "gopher_enough_stop_words", None, None),
    "lorem ipsum": (None, None, "lorem_ipsum", None),
    "curly bracket": (None, None, "curly_bracket", None),
    "notices": (None, None, None, None),
    "citations": (None, None, None, None),
    "few sentences": (None, "gopher_short_doc", "too_few_sentences", "line_punct_ratio"),
    "headings": (None, None, None, "char_dup_ratio"),
    "a word too long": (None, "gopher_above_avg_threshold", None, None),
    "no ends of lines": (None, None, "too_few_sentences", "line_punct_ratio"),
    "short lines": (None, "gopher_below_alpha_threshold", None, "short_line_ratio"),
    "a list": (None, "gopher_above_avg_threshold", "too_few_sentences", "char_dup_ratio"),
    "many lines": ("top_2_gram", None, None, "list_ratio"),
    "twice the same": ("dup_line_frac", None, None, "char_dup_ratio"),
}
WORDS_OF = {
    "It's 5km/h, isn't it?": "It 's 5 km/h , is n't it ?",
    "(He'll've gone.)": "( He 'll 've gone . )",
    "Dr. Smith's e-mail: a.b@c.example.com!": "Dr. Smith 's e - mail : a.b@c.example.com !",
    "https://example.com/a_b?c=d#e,": "https://example.com/a_b?c=d#e ,",
    "then http://10.0.0.1/x": "then http://10.0.0.1 / x",
    "well-known 1980s-era state–of–the–art": "well - known 1980s - era state – of – the – art",
    "U.S.A. U.S. a.m. 10am 11p.m.": "U.S.A. U.S. a.m. 10 am 11 p.m.",
    "\"'Tis,' she said…\" ...wait.... what?!": "\" ' Tis , ' she said … \" ... wait .... what ? !",
    "C++ and/or w/o :-) x:) <3 ^_^ (o: :D": "C++ and/or w/o :-) x :) <3 ^_^ (o: :D",
    "$5.00 US$10 10€ 5% 20°C. 3+4 a+b 2*3 x^2 4-5": "$ 5.00 US$ 10 10 € 5 % 20 ° C . 3 + 4 a+b 2 * 3 x^2 4 - 5",
    "cannot gonna y'all c'mon dont": "can not gon na y' all c'm on do nt",
    "you’re he’d’ve Ill Its": "you ’re he ’d ’ve Ill Its",
    "foo.Bar foo.bar Foo,bar foo,Bar": "foo . Bar foo.bar Foo , bar foo , Bar",
    "key:value a/b a=b a<b": "key : value a / b a = b a < b",
    "--- a--b a---b — a—b ~a~ a~b": "--- a -- b a --- b — a — b ~a~ a ~ b",
    "它是，一个测试。第二句！ 日本語、です。": "它是，一个测试。第二句 ！ 日本語、です 。",
    "«Привет», сказал он: «т.е. 5 кг».": "« Привет » , сказал он : « т.е . 5 кг » .",
    "§4 #hash @user _under_ *star*": "§ 4 # hash @user _ under _ * star *",
    "[link](http://a.example/b) `code` ```": "[ link](http://a.example / b ) ` code ` ` ` `",
    "100% 1,000.50 1.5x 3.14.15 v1.2.3 10:30 1/2 2²": "100 % 1,000.50 1.5x 3.14.15 v1.2.3 10:30 1/2 2²",
    "\\n \\t O'Neil rock'n'roll 'em '90s": "\\n \\t O'Neil rock'n'roll 'em ' 90s",
    "😀😀word😀 a😀b © 2020 ™x": "😀 😀 word 😀 a 😀 b © 2020 ™ x",
}
OTHER = {
    "a 10-year-old well-known 5km rule": "a 10-year - old well - known 5 km rule",
    "cannot gonna y'all c'mon dont": "cannot gonna y'all c'mon dont",
    "It's 5km/h, isn't it?": "It 's 5 km/h , isn't it ?",
}
SENTENCES = {
    "One. Two? Three!": 3,
    'One.  "Two." (Three.) Four': 4,
    "Mr. Smith went. e.g. this": 2,
    "No end": 1,
    "a.b c. d": 1,
    "… yes… no! ?! ok": 2,
    "。中。文": 2,
    "1. First 2. Second": 3,
    "Hello. \t World": 2,
}


@pytest.mark.parametrize("name", TEXTS)
def test_reasons_are_those_of_datatrove(name):
    found = [Prose(filters=(rules,)).judge(TEXTS[name]).verdict for rules in FILTERS]
    assert tuple(verdict and verdict[0] for verdict in found) == REASONS[name]


def test_every_reason_that_a_default_can_give_is_seen():
    seen = {reason for reasons in REASONS.values() for reason in reasons if reason}
    rare = {"gopher_long_doc", *(f"duplicated_{n}_n_grams" for n in (6, 7, 8, 10))}
    source = "".join(map(inspect.getsource, FILTERS.values()))
    named = set(re.findall(r'return \(?"(\w+)"', source))
    assert named - seen <= rare


@pytest.mark.parametrize("name", ["notices", "citations"])
def test_c4_leaves_the_text_that_datatrove_leaves(name):
    assert Prose(filters=("c4",)).judge(TEXTS[name]) == (None, PROSE)


def test_headings_stay_where_lines_need_no_end():
    text = "# About the old ferry\n" + PROSE + "\nThis site uses cookies"
    kept = Prose(filters=("c4",), c4=C4(terminal_punctuation=False)).judge(text)
    assert kept == (None, "# About the old ferry\n" + PROSE)
    assert Prose(filters=("c4",)).judge(text) == (None, PROSE)


def test_a_later_filter_sees_what_an_earlier_one_left():
    text = PROSE + "\n" + "\n".join(f"Menu {word}" for word in WORDS[:40])
    assert Prose(filters=("fineweb",)).judge(text).verdict[0] == "line_punct_ratio"
    assert Prose(filters=("c4", "fineweb")).judge(text) == (None, PROSE)


@pytest.mark.parametrize(
    "rules, name, reason",
    [
        (Prose(gopher_quality=GopherQuality(max_doc_words=100)), "prose", "gopher_long_doc"),
        (Prose(gopher_repetition=GopherRepetition(top_n_grams=((2, 0.01),))), "prose", "top_2_gram"),
        (
            Prose(gopher_repetition=GopherRepetition(dup_n_grams=((10, 0.01),))),
            "ten words",
            "duplicated_10_n_grams",
        ),
        (Prose(c4=C4(min_num_sentences=50)), "prose", "too_few_sentences"),
        (Prose(fineweb=FineWeb(short_line_thr=0, short_line_length=1000)), "prose", "short_line_ratio"),
    ],
)
def test_thresholds_can_be_set(rules, name, reason):
    assert rules.judge(TEXTS[name]).verdict[0] == reason


@pytest.mark.parametrize("name", TEXTS)
def test_rules_without_thresholds_keep_everything(name):
    nothing = Prose(
        gopher_repetition=GopherRepetition(
            dup_para_frac=0, dup_para_char_frac=0, dup_line_frac=0, dup_line_char_frac=0, top_n_grams=(), dup_n_grams=()
        ),
        gopher_quality=GopherQuality(
            min_doc_words=0, max_doc_words=0, min_avg_word_length=0, max_avg_word_length=0, max_symbol_word_ratio=0,
            max_bullet_lines_ratio=0, max_ellipsis_lines_ratio=0, min_alpha_words_ratio=0, min_stop_words=0,
        ),
        filters=("gopher_repetition", "gopher_quality"),
    )  # fmt: skip
    assert nothing.judge(TEXTS[name]).verdict in (None, ("empty", "0 characters"))


@pytest.mark.parametrize("text", WORDS_OF)
def test_words_are_those_of_spacy(text):
    assert splitter("en").words(text) == WORDS_OF[text].split()


@pytest.mark.parametrize("text", OTHER)
def test_other_languages_know_no_english_contractions(text):
    assert splitter("fr").words(text) == OTHER[text].split()


@pytest.mark.parametrize("text", SENTENCES)
def test_sentences_are_those_of_spacy(text):
    assert splitter("en").sentences(text) == SENTENCES[text]


PIECE = st.text("aA1.,:;'’-!?()$%@/° s…\"é中😀", max_size=24)


@given(PIECE)
def test_words_are_all_of_a_text_but_its_blanks(text):
    words = splitter("en").words(text)
    assert "".join(words) == "".join(text.split())
    assert all(words)
    assert splitter("en").count(text) == len(words)


@given(st.lists(PIECE, max_size=8))
def test_what_was_split_before_changes_nothing(texts):
    fresh = Splitter("en")
    assert [splitter("en").words(text) for text in texts] == [fresh.words(text) for text in texts]


def test_no_more_pieces_are_kept_than_promised():
    some = Splitter("xx")
    for part in range(5):
        some.words(" ".join(f"{part}.{i}" for i in range(MAX_PIECES // 4)))
    assert len(some.pieces) <= MAX_PIECES


@given(st.text("ab .\n!-#…{", max_size=200))
def test_any_text_gets_a_verdict(text):
    verdict, edited = Prose().judge(text)
    assert verdict is None or (verdict[0] and verdict[1])
    assert "".join(edited.split()) == "" or len(edited) <= len(text)


HOSTILE = [
    "!",
    "'",
    "(",
    "a.",
    "@",
    "a@a.",
    "...!",
    ":)",
    "5%",
    "—",
    "a,",
    "[1]",
    "a\n",
    " ",
    "\n",
    "x",
    "n't",
    "́",
    "http://",
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_repetition_costs_no_more_than_its_length(unit):
    text = unit * (400_000 // len(unit))
    # With work that grows as the square of the length these would take minutes.
    for name in FILTERS:
        Prose(filters=(name,)).judge(text)
    assert sum(map(len, splitter("en").words(text))) == len("".join(text.split()))
