"""Mathematics written with `<sup>` and `<sub>`: `x<sup>2</sup> + y<sub>i</sub> = 1` is `$x^{2}+y_{i}=1$`.

Browsers show the height of a script, and plain text loses it: 10<sup>6</sup> must not become 106. `script`
marks each one while the text is collected; `settle` then reads the marks of a block: a run that joins letters
with operators, functions or large signs becomes a formula, anything else keeps its height as `^` or `_` (`a_i`,
`m^2`, `H_2O`), which says as much. Ordinals, abbreviations and footnote marks are no heights.
"""

import re
from collections.abc import Callable

from corpus.formulas import Formula
from corpus.mathml import symbols_to_latex
from corpus.mathml_symbols import FUNCTIONS, joined

# Private characters that stand around a script between `script` and `settle`.
_SUP, _SUB, _END = "\ue0f1", "\ue0f2", "\ue0f3"
MAX_SCRIPT_CHARS = 40

_ORDINAL = re.compile(r"(?:st|nd|rd|th|er|re|ers|res|e|es|ème|eme|nde|º|ª|o|a|os|as|ste|de|ter|te)\.?", re.I)
_COUNTED = re.compile(r"\d\.?\Z|(?<![A-Za-z])[IVXLC]{1,10}\Z")
_ABBREVIATIONS = frozenset((
    "Mme", "Mlle", "Mgr", "Mr", "Mrs", "Dr", "Dre", "St", "Ste", "no", "nos", "No", "Nos", "Ve", "Cie", "Jr", "Sr",
))  # fmt: skip
_NOTE = re.compile(r"\s*(?:\[[^\[\]]{1,20}\]|\([a-z\d]\)|[*†‡§¶#]+|TM|SM|MD|MC|[™®©℠])\s*", re.I)
_WORDS = re.compile(r"[^\W\d_]{4,}|\s[^\W\d_]{3,}")
_TOKEN = re.compile(
    f"(?P<script>[{_SUP}{_SUB}][^{_SUP}{_SUB}{_END}]*{_END})|(?P<space>[ \\u00a0\\u2009\\u202f]+)"
    "|(?P<number>\\d+(?:[.,]\\d+)*)"
    "|(?P<word>[^\\W\\d_]+)|(?P<operator><=|>=|[=<>≤≥≠≈+−±×·⋅*/∈∉⊂⊆∪∩→⇒↦∼≡∝∘⊕⊗⟨⟩∧∨∖∣≅≃≪≫-])"
    "|(?P<open>[(\\[{])|(?P<close>[)\\]}])|(?P<sign>[∑∏∫√∂∇∞'′!|])|(?P<comma>,)|(?P<other>.)",
    re.S,
)
_PLAIN_WORDS = frozenset((
    "is", "in", "of", "to", "at", "on", "as", "an", "by", "if", "or", "we", "so", "no", "be", "it", "he", "me", "my",
    "us", "up", "do", "go", "am", "de", "la", "le", "el", "un", "et", "en", "du", "es", "si", "ne", "vs",
))  # fmt: skip
_UNITS = frozenset((
    "m", "cm", "mm", "km", "nm", "dm", "s", "ms", "g", "kg", "mg", "h", "min", "ft", "in", "yd", "mi", "W", "kW", "J",
    "N", "Pa", "V", "A", "K", "C", "F", "L", "l", "mol", "cd", "Hz", "ha", "mL", "ml", "dl", "µm", "μm", "sec", "hr",
    "rad", "sr", "lm", "lx",
))  # fmt: skip
_BETWEEN_UNITS = frozenset("/*·⋅×")
_ELEMENTS = re.compile(r"(?:[A-Z][a-z]?)+\Z")
_LARGE_SIGNS = frozenset("∑∏∫√∂∇")
# A script within a script, as `_plain` has written it.
_INNER_SCRIPT = re.compile(r"([\^_])(?:\{([^{}]*)\}|([-−+]?\d+|\w))")


def script(before: str, inner: str, kind: str, linked: bool) -> str:
    """What to write for a `sup` or `sub` (`kind`) element with the text `inner` behind the text `before`.

    `linked`: the element holds, or stands in, a link. Footnote marks, ordinals and words stay as they are;
    anything else comes marked, for `settle` to read.
    """
    text = " ".join(inner.split())
    if not text:
        return ""
    if _SUP in text or _SUB in text:
        text = _plain(text)
    if linked or _NOTE.fullmatch(text):
        return f"[{text}]" if re.fullmatch(r"\d{1,4}", text) else text
    if kind == "sup" and _ORDINAL.fullmatch(text) and _COUNTED.search(before[-12:]):
        return text
    if kind == "sup" and before[-1:] + text in _ABBREVIATIONS and not before[-2:-1].isalpha():
        return text
    if len(text) > MAX_SCRIPT_CHARS or _WORDS.search(text):
        return (" " if before[-1:].isalnum() and text[0].isalnum() else "") + text
    return f"{_SUP if kind == 'sup' else _SUB}{text}{_END}"


def settle(text: str, put: Callable[[Formula], str]) -> str:
    """`text` with every mark of `script` read: formulas through `put`, other heights as `^` and `_`."""
    if _END not in text:
        return text
    tokens = [(found.lastgroup or "other", found[0]) for found in _TOKEN.finditer(text)]
    out: list[str] = []
    at = index = 0
    while index < len(tokens):
        if tokens[index][0] != "script":
            index += 1
            continue
        if index == 0 or tokens[index - 1][0] == "space" or tokens[index - 1][1] == "\n":
            # Nothing carries it: an isotope's number, or the mark of a note.
            following = tokens[index + 1] if index + 1 < len(tokens) else ("", "")
            if not (following[0] == "word" and _ELEMENTS.match(following[1])):
                tokens[index] = ("number", tokens[index][1][1:-1])
            index += 1
            continue
        start, end = _run(tokens, index, at)
        out += [piece for _, piece in tokens[at:start]]
        run = tokens[start:end]
        if _is_mathematics(run):
            out.append(put(Formula(_latex(run))))
        else:
            out.append(_plain("".join(piece for _, piece in run)))
        at = index = end
    out += [piece for _, piece in tokens[at:]]
    return _plain("".join(out))


def _is_item(token: tuple[str, str]) -> bool:
    kind, text = token
    if kind == "word":
        return text in FUNCTIONS or (len(text) <= 2 and text not in _PLAIN_WORDS and _is_letters(text))
    return kind in ("number", "sign", "script")


def _is_letters(text: str) -> bool:
    return all(
        char.isascii() or "\u0370" <= char <= "\u03ff" or "\u2100" <= char <= "\u214f" for char in text
    )


def _run(tokens: list[tuple[str, str]], index: int, floor: int) -> tuple[int, int]:
    """The tokens around a script that could be one formula with it: from, to; never below `floor`."""
    start = index
    open_brackets = 0
    if start > floor:  # the base, whatever it is
        start -= 1
        open_brackets += tokens[start][0] == "close"
    while start > floor and index - start < 200:
        kind, _ = tokens[start - 1]
        if open_brackets and kind != "open" and tokens[start - 1][1] not in ".;:\n":
            open_brackets += kind == "close"
            start -= 1
        elif kind == "open" and open_brackets:
            open_brackets -= 1
            start -= 1
        elif kind == "close":
            open_brackets += 1
            start -= 1
        elif _is_item(tokens[start - 1]) and tokens[start][0] not in ("space",):
            start -= 1
        else:
            behind = start - 1 - (kind == "space")
            if behind <= floor or tokens[behind][0] != "operator" or not _is_item_or_bracket(tokens[start]):
                break
            before = behind - 1 - (tokens[behind - 1][0] == "space")
            if before < floor or not (_is_item(tokens[before]) or tokens[before][0] == "close"):
                break
            start = before
            open_brackets += tokens[before][0] == "close"
    if open_brackets:
        start = max(start, index - 1)
        if tokens[start][0] == "close":
            start = index
    end, open_brackets = index + 1, 0
    while end < len(tokens) and end - index < 200:
        kind, _ = tokens[end]
        if _is_item(tokens[end]):
            end += 1
        elif kind == "open" and _closed(tokens, end):
            open_brackets += 1
            end += 1
        elif kind == "close" and open_brackets:
            open_brackets -= 1
            end += 1
        elif open_brackets and kind in ("space", "comma", "operator", "word"):
            end += 1
        else:
            sign = end + (kind == "space")
            if kind == "space" and sign < len(tokens) and _is_item(tokens[sign]) and _takes(tokens, index):
                end = sign
                continue
            if sign >= len(tokens) or tokens[sign][0] != "operator":
                break
            following = sign + 1
            if following < len(tokens) and tokens[following][0] == "space":
                following += 1
            if following < len(tokens) and tokens[following][1] in "-−+":
                following += 1
            if following >= len(tokens) or not (
                _is_item(tokens[following]) or (tokens[following][0] == "open" and _closed(tokens, following))
            ):
                break
            end = following
    # The function around it: O(n^2).
    if (
        start - 1 > floor
        and end < len(tokens)
        and tokens[start - 1][1] + tokens[end][1] in ("()", "[]")
        and tokens[start - 2][0] == "word"
        and _is_item(tokens[start - 2])
    ):
        return start - 2, end + 1
    return start, end


def _takes(tokens: list[tuple[str, str]], index: int) -> bool:
    """Whether the script at `index` is on something that stands before its argument: a sum, `log`."""
    base = tokens[index - 1] if index else ("", "")
    return base[1] in "∑∏∫√∂∇" or base[1] in FUNCTIONS


def _is_item_or_bracket(token: tuple[str, str]) -> bool:
    return _is_item(token) or token[0] in ("open", "close")


def _closed(tokens: list[tuple[str, str]], index: int) -> bool:
    """Whether the bracket at `index` closes soon around nothing but mathematics."""
    depth = 0
    for token in tokens[index : index + 40]:
        depth += (token[0] == "open") - (token[0] == "close")
        if depth == 0:
            return True
        if token[0] == "other" or (token[0] == "word" and not _is_item(token)):
            return False
    return False


def _is_mathematics(run: list[tuple[str, str]]) -> bool:
    words = [text for kind, text in run if kind == "word"]
    operators = {text for kind, text in run if kind == "operator"}
    scripts = [text for kind, text in run if kind == "script"]
    signs = [text for kind, text in run if kind == "sign"]
    if not words and not signs:  # 3×10^8
        return False
    for index, (kind, text) in enumerate(run):
        if kind != "script":
            continue
        base_kind, base = run[index - 1] if index else ("other", "")
        if base_kind == "script":
            base_kind, base = run[index - 2] if index > 1 else ("other", "")
        if base_kind == "word":
            if (len(base) > 2 and base not in FUNCTIONS) or not _is_letters(base):
                return False
        elif base_kind == "number":
            if text[0] == _SUB or not operators:
                return False
        elif base_kind not in ("close", "sign"):
            return False
        if re.search(r"[\^_]", _INNER_SCRIPT.sub("", text)):
            return False
    if signs.count("|") % 2:  # half of an absolute value
        return False
    if words and _UNITS.issuperset(words) and _BETWEEN_UNITS.issuperset(operators):
        return False
    compared = not operators.isdisjoint("=<>≤≥≈")
    charges = [text[1:-1].strip("+-−0123456789") == "" for text in scripts]
    if words and not compared and all(map(_ELEMENTS.match, words)) and all(charges):
        return False
    return bool(operators) or not FUNCTIONS.isdisjoint(words) or not _LARGE_SIGNS.isdisjoint(signs)


def _latex(run: list[tuple[str, str]]) -> str:
    out: list[str] = []
    for kind, text in run:
        if kind == "script":
            piece = ("^" if text[0] == _SUP else "_") + "{" + _symbols(text[1:-1]) + "}"
        elif kind == "word" and text in FUNCTIONS:
            piece = "\\" + text
        elif kind == "space":
            piece = " "
        else:
            piece = _symbols(text)
        out.append(piece)
    return joined(out).strip()


def _symbols(text: str) -> str:
    if text.isascii() and text.isalnum():
        return text
    out, at = "", 0
    for inner in _INNER_SCRIPT.finditer(text):
        out += _characters(text[at : inner.start()]) + f"{inner[1]}{{{_characters(inner[2] or inner[3])}}}"
        at = inner.end()
    return out + _characters(text[at:])


def _characters(text: str) -> str:
    return symbols_to_latex(text.replace("′", "'")).replace("\\ast", "*")


def _plain(text: str) -> str:
    """Heights as `^2`, `_2` or, where more than digits or one letter follow, in braces."""

    def mark(found: re.Match[str]) -> str:
        sign = "^" if found[1] == _SUP else "_"
        inner = found[2]
        return f"{sign}{inner}" if re.fullmatch(r"[-−+]?\d+|\w", inner) else f"{sign}{{{inner}}}"

    return re.sub(f"([{_SUP}{_SUB}])([^{_SUP}{_SUB}{_END}]*){_END}", mark, text)
