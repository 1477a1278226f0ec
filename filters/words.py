"""Text to words and sentences as spaCy's tokenizers for English ("en") and for any language ("xx") find them.

The published thresholds of rules for prose were tuned on these words, so other words would be other rules. A text
is split at white space; each piece gives up affixes until an exception, a URL or nothing is left, and the rest is cut
at infixes. Pieces do not depend on each other, so that most of them are looked up and not split.
"""

import functools
import importlib.resources
import re
import tomllib
import unicodedata
from collections.abc import Callable, Iterator
from itertools import chain, islice, pairwise

# Pieces remembered by a process: some 130 MB at most.
MAX_PIECES = 400_000
MAX_REMEMBERED = 40
# Longer pieces are no URLs that anyone wrote, and matching them takes the square of their length.
MAX_URL = 2_000


@functools.cache
def tables() -> dict[str, frozenset[str]]:
    """Sets of characters of `words.toml`, by name."""
    data = _data()
    return {name: frozenset(_characters(value)) for name, value in data.items() if isinstance(value, str)}


@functools.cache
def _data() -> dict:
    return tomllib.loads(
        importlib.resources.files("filters").joinpath("words.toml").read_text(encoding="utf-8")
    )


def _runs(spec: str) -> Iterator[tuple[int, int, int]]:
    for run in spec.split():
        span, _, step = run.partition("/")
        first, _, last = span.partition("-")
        yield int(first, 16), int(last or first, 16), int(step or "1")


def _characters(spec: str) -> Iterator[str]:
    for first, last, step in _runs(spec):
        yield from map(chr, range(first, last + 1, step))


def _class(*names: str) -> str:
    """The inside of a regular expression's character class, for sets of `words.toml`."""
    parts = []
    for first, last, step in chain.from_iterable(_runs(_data()[name]) for name in names):
        points = range(first, last + 1, step) if step > 1 else ()
        parts.append("".join(map(chr, points)) or f"{chr(first)}-{chr(last)}")
    return "".join(parts)


def _exceptions(language: str) -> dict[str, tuple[str, ...]]:
    """Pieces that are split otherwise than their affixes say."""
    table = _data()["exceptions"]
    found = {word: (word,) for word in table["any"].split()}
    found |= {f"°{unit}.": ("°", unit, ".") for unit in table["degrees"].split()}
    if language != "en":
        return found
    for group in table["contractions"]:
        for stem in group["stems"].split():
            for ending in group["endings"].split():
                for head in (stem, stem.title()):
                    for mark in ("'", "’", ""):
                        tokens = (head, *ending.replace("'", mark).split("|"))
                        found["".join(tokens)] = tokens
    for word in table["english_whole"].split():
        del found[word]
    found |= {word: (word,) for word in table["english"].split()}
    found |= {word.replace("|", ""): tuple(word.split("|")) for word in table["english_split"].split()}
    hours = [(str(hour), unit) for hour in range(1, 13) for unit in table["english_hours"].split()]
    return found | {hour + unit: (hour, unit) for hour, unit in hours}


# Punctuation that may stand at either end of a word.
OPENING_OR_CLOSING = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
QUOTES = "'\"”“`‘´’‚,„»«「」『』（）〔〕【】《》〈〉〈〉⟦⟧"
CURRENCY = "$£€¥฿₽﷼₴₠₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₵₶₷₸₹₺₻₼₾₿"
# Units that a number lets go of, shortest last so that the longest is tried first.
UNITS = (
    "km² km³ km m² m³ m/s mm² mm³ mm mph mbar mb m dm² dm³ dm cm² cm³ cm ha µm µg nm yd in ft kg kmh km/h kb "
    "g gb t tb lb oz hPa Pa MB KB GB TB T G M K % км² км³ км м² м³ м/с м дм² дм³ дм см² см³ см мм² мм³ мм нм "
    "кг г мг км/ч кПа Па мбар Кб КБ кб Мб МБ мб Гб ГБ гб Тб ТБ тбكم كم² كم³ كم م² م³ م سم² سم³ سم مم² مم³ مم "
    "غرام جرام جم كغ ملغ كوب اكواب"
)
# A word with a mark before or after it, which is most of what is not a word alone.
PLAIN = re.compile(r"""([("'“‘\[*]?)([A-Za-z]*[a-z])([,.;:!?)"'”’\]*]?)""").fullmatch
# The longest suffix is six characters, and what may stand before it is looked at two characters deep.
TAIL = 16
HOST = (
    r"(?!(?:10|127)(?:\.\d{1,3}){3})(?!(?:169\.254|192\.168)(?:\.\d{1,3}){2})"
    r"(?!172\.(?:1[6-9]|2\d|3[0-1])(?:\.\d{1,3}){2})"
    r"(?:[1-9]\d?|1\d\d|2[01]\d|22[0-3])(?:\.(?:1?\d{1,2}|2[0-4]\d|25[0-5])){2}\.(?:[1-9]\d?|1\d\d|2[0-4]\d|25[0-4])"
)


def _alternatives(words: list[str]) -> str:
    return "|".join(map(re.escape, words))


def _infixes(
    lower: str, upper: str, letter: str, numbered: str, symbols: str
) -> Callable[[str], Iterator[re.Match[str]]]:
    """Finds what parts a word inside, given the insides of character classes."""
    quotes = re.escape(QUOTES)
    hyphen = rf"(?<=[{letter}{numbered}]"
    # Everything begins with one of a set of characters, which is what the search looks for.
    return re.compile(
        rf"[.,:<>=/+*^~…–—\-{symbols}](?:"
        rf"(?<=\.)\.+|(?<=[…{symbols}])|(?<=[0-9][+\-*^])(?=[0-9-])"
        rf"|(?<=[{lower}{quotes}]\.)(?=[{upper}{quotes}])|(?<=[{letter}],)(?=[{letter}])"
        rf"|{hyphen}-)-{{0,2}}(?=[{letter}])|{hyphen}—)—?(?=[{letter}])|{hyphen}[–~])(?=[{letter}])"
        rf"|(?<=[{letter}0-9][:<>=/])(?=[{letter}]))"
    ).finditer


class Splitter:
    """Text to words, `language` "en" or "xx"; keeps what it has split before."""

    def __init__(self, language: str) -> None:
        self.exceptions = _exceptions(language)
        longest = max(map(len, self.exceptions))
        self.longest_exception = longest
        # Most characters neither begin nor end an affix, and most affixes are one mark.
        self.marks = frozenset(OPENING_OR_CLOSING + QUOTES + "—–") | tables()["symbols"]
        self.openings = self.marks | frozenset("§%=" + CURRENCY)
        self.endings = frozenset(".sS+" + CURRENCY) | {unit[-1] for unit in UNITS.split()}
        self.prefix = re.compile(r"\+(?![0-9])|\.\.+|(?:US|C|A)\$").match
        lower, upper = _class("lower", "uncased"), _class("upper", "uncased")
        letter = _class("lower", "upper", "uncased", "letters")
        money = _alternatives(["US$", "C$", "A$", *CURRENCY])
        before_period = rf"0-9{lower}%²\-+|{re.escape(OPENING_OR_CLOSING + QUOTES)}"
        self.suffix = re.compile(
            rf"(?:['’][sS]|(?<=[0-9])(?:\+|{money}|{_alternatives(UNITS.split())})"
            rf"|(?<=°[FfCcKk])\.|(?<=[{before_period}])\.|(?<=[{upper}][{upper}])\.)$"
        ).search
        numbered = "0-9" if language == "en" else ""
        self.infixes = _infixes(lower, upper, letter, numbered, _class("symbols"))
        self.ascii_infixes = _infixes("a-z", "A-Z", "a-zA-Z", numbered, "")  # the same for ASCII, and faster
        self.may_be_url = re.compile(rf"\.[{lower}][{lower}]|\.\d+\.\d+\.\d").search
        label = r"(?:[A-Za-z0-9\u00a1-\uffff][A-Za-z0-9\u00a1-\uffff_-]{0,62})?[A-Za-z0-9\u00a1-\uffff]\."
        self.url = re.compile(
            rf"(?:[\w+\-.]{{2,}}://)?(?:\S+@)?(?:{HOST}|(?:{label})+[{lower}]{{2,63}})(?::\d{{2,5}})?(?:[/?#]\S*)?$"
        ).match
        # Exceptions that affixes or infixes would break are put together again afterwards.
        self.broken: dict[tuple[str, ...], list[tuple[tuple[str, ...], tuple[str, ...]]]] = {}
        exceptions, self.exceptions = self.exceptions, {}
        for word, tokens in exceptions.items():
            pieces = tuple(self._affixes(word))
            if len(pieces) > 1:
                self.broken.setdefault(pieces[:2], []).append((pieces, tokens))
        self.exceptions = exceptions
        self.pieces = _Pieces(self)

    def words(self, text: str) -> list[str]:
        """The words of a text, punctuation included, in order."""
        return list(chain.from_iterable(map(self.pieces.__getitem__, text.split())))

    def count(self, text: str) -> int:
        """How many words a text has."""
        return sum(map(len, map(self.pieces.__getitem__, text.split())))

    def sentences(self, text: str) -> int:
        """How many sentences a text has: one starts at each word after a full stop and further punctuation."""
        parts = text.split()
        if " ".join(parts) == text:
            words: Iterator[str] = chain.from_iterable(map(self.pieces.__getitem__, parts))
        else:
            words = self._with_blanks(text)
        ends = tables()["sentence_end"]
        found, ended = 1, False
        for word in words:
            if word in ends:
                ended = True
            elif ended and not all(unicodedata.category(char)[0] == "P" for char in word):
                found, ended = found + 1, False
        return found

    def _with_blanks(self, text: str) -> Iterator[str]:
        """Words, and what is left of the white space between them when one space has been taken."""
        for blanks, piece in re.findall(r"(\s*)(\S+)", text.rstrip()):
            yield from (blanks.removeprefix(" "),) if blanks not in ("", " ") else ()
            yield from self.pieces[piece]

    def split(self, piece: str) -> tuple[str, ...]:
        """Words of a text without white space."""
        if piece in self.exceptions:
            return self.exceptions[piece]
        # Letters, digits and names as programs have them; digits before the last letters may be a number and a unit.
        if piece.isalpha() or (
            piece.isascii()
            and piece.isalnum() | piece.isidentifier()
            and (piece[-1].isdigit() or piece.replace("_", "").isalpha())
            and "_" not in (piece[0], piece[-1])
        ):
            return (piece,)
        if found := PLAIN(piece):
            parts = tuple(filter(None, found.groups()))
            # No exception may stand in it, nor one that would be put together again.
            inside = {word for pair in pairwise(parts) for word in (*pair, "".join(pair))}
            if self.exceptions.keys().isdisjoint(inside):
                return parts
        tokens = self._affixes(piece)
        return tuple(self._mended(tokens) if len(tokens) > 1 else tokens)

    def _affixes(self, piece: str) -> list[str]:
        before: list[str] = []
        after: list[str] = []
        start, end = 0, len(piece)
        exceptions, longest, marks, openings = (
            self.exceptions,
            self.longest_exception,
            self.marks,
            self.openings,
        )
        while start < end:
            if end - start <= longest and piece[start:end] in exceptions:
                break
            first = piece[start]
            prefix = 1 if first in openings else self._prefix(piece, start, end) if first in "+.UCA" else 0
            if prefix and end - start - prefix <= longest and piece[start + prefix : end] in exceptions:
                before.append(piece[start : start + prefix])
                start += prefix
                break
            last = piece[end - 1]
            if start + prefix == end:
                suffix = 0
            elif last in marks:
                suffix = 2 if last == "…" and piece.endswith("……", start + prefix, end) else 1
            else:
                suffix = self._suffix(piece, start + prefix, end) if last in self.endings else 0
            if suffix and end - suffix - start <= longest and piece[start : end - suffix] in exceptions:
                after.append(piece[end - suffix : end])
                end -= suffix
                break
            if not prefix and not suffix:
                break
            if prefix:
                before.append(piece[start : start + prefix])
            if suffix:
                after.append(piece[end - suffix : end])
            start, end = start + prefix, end - suffix
        if start < end:
            before += self._inner(piece[start:end])
        after.reverse()
        return before + after

    def _prefix(self, piece: str, start: int, end: int) -> int:
        """Length of a longer affix that comes off the beginning."""
        found = self.prefix(piece, start, end)
        return found.end() - start if found else 0

    def _suffix(self, piece: str, start: int, end: int) -> int:
        """Length of a longer affix that comes off the end."""
        at = end
        while at > start and piece[at - 1] == ".":
            at -= 1
        if end - at > 1:
            return end - at
        tail = piece[max(start, end - TAIL) : end]
        found = self.suffix(tail)
        return len(tail) - found.start() if found else 0

    def _inner(self, piece: str) -> list[str]:
        if len(piece) <= self.longest_exception and piece in self.exceptions:
            return list(self.exceptions[piece])
        if "." in piece and len(piece) <= MAX_URL and self.may_be_url(piece) and self.url(piece):
            return [piece]
        tokens, start = [], 0
        for infix in (self.ascii_infixes if piece.isascii() else self.infixes)(piece):
            first, last = infix.span()
            if not first:
                continue
            if first != start:
                tokens.append(piece[start:first])
            tokens.append(infix.group())
            start = last
        if start < len(piece):
            tokens.append(piece[start:])
        return tokens

    def _mended(self, tokens: list[str]) -> list[str]:
        """Put exceptions together that were broken: the longest first, of equals the first."""
        found = [
            (-len(pieces), start, whole)
            for start, pair in enumerate(pairwise(tokens))
            for pieces, whole in self.broken.get(pair, ())
            if tuple(tokens[start : start + len(pieces)]) == pieces
        ]
        if not found:
            return tokens
        taken: set[int] = set()
        chosen: dict[int, tuple[int, tuple[str, ...]]] = {}
        for length, start, whole in sorted(found):
            end = start - length
            if start not in taken and end - 1 not in taken:
                chosen[start] = end, whole
            taken.update(range(start, end))
        mended: list[str] = []
        at = 0
        while at < len(tokens):
            end, whole = chosen.get(at, (at + 1, (tokens[at],)))
            mended += whole
            at = end
        return mended


class _Pieces(dict[str, tuple[str, ...]]):
    """What was split, by piece: at most `MAX_PIECES`, of which the first half goes when it is full."""

    def __init__(self, splitter: Splitter) -> None:
        self.splitter = splitter

    def __missing__(self, piece: str) -> tuple[str, ...]:
        tokens = self.splitter.split(piece)
        if len(piece) <= MAX_REMEMBERED:
            if len(self) >= MAX_PIECES:
                for old in list(islice(self, MAX_PIECES // 2)):
                    del self[old]
            self[piece] = tokens
        return tokens


@functools.cache
def splitter(language: str) -> Splitter:
    """The process's splitter for a language (ISO 639); every language but English is "xx"."""
    return _splitter("en" if language == "en" else "xx")


_splitter = functools.cache(Splitter)
