"""A page's own TeX macros: found in its scripts and formulas, and written out, so that each formula stands alone.

MathJax and KaTeX take macros from their configuration (`macros: {RR: "\\\\mathbb{R}", bold: ["..#1", 1]}`)
and from definitions typed into formulas (`\\newcommand`, `\\def`, `\\DeclareMathOperator`, `\\let`,
`\\DeclarePairedDelimiter`). Standard LaTeX commands that a page defines once more keep their names.
"""

import dataclasses
import html as entities
import itertools
import json
import re

from corpus.formulas import Formula
from corpus.mathml_symbols import ARROWS, FUNCTIONS, SYMBOLS

# More macros than this, or longer ones, are no page's notation.
MAX_MACROS, MAX_BODY = 2_000, 4_000
MAX_CONFIGURATIONS, MAX_BROKEN = 20, 100
# Expansion stops, and the formula stays as it was typed, beyond this growth or this many rounds.
MAX_GROWTH, MIN_LIMIT, MAX_ROUNDS = 10, 4_000, 30

_OTHERS = """
frac dfrac tfrac cfrac sqrt binom dbinom tbinom choose text textbf textit textrm mathrm mathbf mathit mathbb mathcal
mathfrak mathsf mathtt mathscr boldsymbol operatorname vec hat bar tilde dot ddot widehat widetilde overline underline
overrightarrow overset underset stackrel left right big Big bigg Bigg begin end displaystyle le ge ne lt gt to iff
implies land lor lnot dots dotsc dotsb pmod bmod mod quad qquad space limits nolimits boxed phantom label tag eqref ref
cancel substack middle lvert rvert lVert rVert colon
"""
_STANDARD = (
    FUNCTIONS
    | {command[1:] for command in SYMBOLS.values() if re.fullmatch(r"\\[A-Za-z]+", command)}
    | {"x" + name for name in ARROWS.values()}
    | set(_OTHERS.split())
)
_DEFINITION = re.compile(
    r"\\(?:(?P<command>(?:re|provide)?newcommand|DeclareRobustCommand)\*?|(?P<operator>DeclareMathOperator)(?P<star>\*?)"
    r"|(?P<pair>DeclarePairedDelimiter)(?![A-Z])|(?:global\s*\\)?(?P<primitive>[gex]?def|let)(?=\s*\\))\s*"
    r"(?P<brace>\{\s*)?\\(?P<name>[A-Za-z@]+|[^A-Za-z\s])\s*(?(brace)\}\s*)"
)
_CONFIGURED = re.compile(r"\bmacros[\"']?\s*[:=]\s*\{", re.I)
_JS_ITEM = re.compile(
    r"\s+|//[^\n]*|/\*.*?\*/|(?P<string>(?:String\.raw)?`(?:\\.|[^`\\])*`|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')"
    r"|(?P<word>[A-Za-z_$][\w$]*)|(?P<number>\d+)|(?P<sign>[{}\[\]:,])",
    re.S,
)
_LISTING_TAG = re.compile(r"<(/?)(pre|code|textarea|style|xmp)\b", re.I)
_TOKEN = re.compile(r"\\(?:[A-Za-z@]+|.)|[{}]|[^\\{}]", re.S)
_NEEDS_GROUP = re.compile(
    r"(?:[_^]|\\(?:[dtc]?frac|[dt]?binom|sqrt|hat|bar|vec|tilde|dot|ddot|overline|underline|widehat|widetilde"
    r"|math(?:rm|bf|it|bb|cal|frak|sf|tt|scr)|boldsymbol))\s*\Z"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Macro:
    """What a command stands for: TeX with `#1`..`#9`, their number, and the first one's default if it is optional."""

    body: str
    arguments: int = 0
    default: str | None = None


class Macros:
    """The macros of one page, and formulas without them; with `expands` false, formulas as they are."""

    def __init__(self, known: dict[str, Macro] | None = None, expands: bool = True):
        self.known = known or {}
        self.expands = expands
        self._uses: re.Pattern[str] | None = None

    @classmethod
    def of(cls, html: str) -> "Macros":
        """The macros that a page's scripts configure and its formulas define, wherever they stand."""
        macros = cls()
        at = 0
        for _ in range(MAX_CONFIGURATIONS if "acros" in html else 0):
            configured = _CONFIGURED.search(html, at)
            if configured is None:
                break
            at = macros._learn_configured(html, configured.end())
        if "newcommand" in html or "\\def" in html or "\\Declare" in html or "\\let" in html:
            text = _without_listings(html)
            broken = 0
            for found in itertools.islice(_DEFINITION.finditer(text), MAX_MACROS):
                parsed = _parse(text, found)
                if parsed is None:
                    broken += 1
                    if broken > MAX_BROKEN:
                        break
                else:
                    macros._learn(found["name"], _without_markup(parsed[0]))
        return macros

    def formula(self, formula: Formula) -> Formula | None:
        """The formula with the page's macros written out; None where it only defines some."""
        tex = formula.tex
        if "\\" not in tex:
            return formula
        if _DEFINITION.search(tex):
            tex = self._defined(tex)
            if not tex:
                return None
        if not self.expands:
            return formula
        tex = self.expand(tex)
        return formula if tex == formula.tex else Formula(tex, formula.display)

    def expand(self, tex: str) -> str:
        """`tex` with every macro of the page replaced, or as it is where that does not end."""
        if not self.known:
            return tex
        if self._uses is None:
            names = sorted(self.known, key=len, reverse=True)
            words = "|".join(re.escape(name) for name in names if name[0].isalpha())
            signs = "|".join(re.escape(name) for name in names if not name[0].isalpha())
            forms = ([rf"(?:{words})(?![A-Za-z@])"] if words else []) + ([f"(?:{signs})"] if signs else [])
            self._uses = re.compile(r"\\(?:\\|" + "|".join(forms) + ")")
        limit = max(MIN_LIMIT, MAX_GROWTH * len(tex))
        now = tex
        for _ in range(MAX_ROUNDS):
            after = self._round(now, limit)
            if after is None:
                return tex
            if after == now:
                return now
            now = after
        return tex

    def _learn(self, name: str, macro: Macro) -> None:
        if name not in _STANDARD and len(self.known) < MAX_MACROS and macro.body != "\\" + name:
            self.known[name] = macro
            self._uses = None

    def _learn_configured(self, html: str, start: int) -> int:
        """Learn the entries of a JavaScript (or JSON) object that begins before `start`; where it ends."""
        depth, key, values = 0, None, []
        end = min(len(html), start + 200_000)
        at = start
        while at < end:
            item = _JS_ITEM.match(html, at, end)
            if item is None:
                break
            at = item.end()
            if item["sign"] in ("{", "["):
                depth += 1
            elif item["sign"] in ("}", "]") or item["sign"] == ",":
                if item["sign"] != ",":
                    depth -= 1
                if depth <= 0:
                    self._learn_entry(key, values)
                    key, values = (None, []) if item["sign"] != "]" else (key, [])
                if depth < 0:
                    break
            elif item["string"] or item["word"] or item["number"]:
                text = _js_string(item["string"]) if item["string"] else item[0]
                if key is None:
                    key = text
                else:
                    values.append(text)
        return at

    def _learn_entry(self, key: str | None, values: list[str]) -> None:
        name = (key or "").removeprefix("\\")
        if not values or not re.fullmatch(r"[A-Za-z@]+|[^A-Za-z\s\\]", name) or len(values[0]) > MAX_BODY:
            return
        body = values[0]
        stated = values[1] if len(values) > 1 else ""
        number = int(stated) if re.fullmatch(r"\d", stated) else 0
        # KaTeX counts arguments by looking for them.
        number = number or max((int(digit) for digit in re.findall(r"#(\d)", body)), default=0)
        self._learn(name, Macro(body, number, values[2] if len(values) > 2 else None))

    def _defined(self, tex: str) -> str:
        """`tex` without the definitions in it, which are learnt."""
        out, at = [], 0
        while found := _DEFINITION.search(tex, at):
            parsed = _parse(tex, found)
            if parsed is None:
                out.append(tex[at : found.end()])
                at = found.end()
                continue
            out.append(tex[at : found.start()])
            at = parsed[1]
            self._learn(found["name"], parsed[0])
        rest = " ".join(("".join(out) + tex[at:]).split())
        return (
            ""
            if re.fullmatch(
                r"(?:\\(?:require|usepackage)\s*\{[^{}]*\}|\\definecolor(?:\s*\{[^{}]*\}){3}|\\(?:begin|end)group|[{}\s,;])*",
                rest,
            )
            else rest
        )

    def _round(self, tex: str, limit: int) -> str | None:
        """`tex` with each macro that stands in it replaced once; None where it grows beyond `limit`."""
        out: list[str] = []
        size = at = 0
        for found in self._uses.finditer(tex):
            if found.start() < at or found[0] == "\\\\":
                continue
            macro = self.known[found[0][1:]]
            values, end = _arguments(tex, found.end(), macro)
            before = tex[at : found.start()]
            body = _filled(macro.body, values)
            if _NEEDS_GROUP.search(before[-20:]) and len(_TOKEN.findall(body.strip())) > 1:
                body = f"{{{body}}}"
            if end < len(tex) and tex[end].isalpha() and re.search(r"\\[A-Za-z]+\Z", body):
                body += " "
            out += [before, body]
            size += len(before) + len(body)
            at = end
            if size > limit:
                return None
        return "".join(out) + tex[at:] if out else tex


def _parse(tex: str, found: re.Match[str]) -> tuple[Macro, int] | None:
    """The macro that a definition makes, and where the definition ends."""
    at = found.end()
    number, default = 0, None
    if found["primitive"] == "let":
        target = re.compile(r"\s*=?\s*(\\(?:[A-Za-z@]+|[^A-Za-z\s])|[^\s\\{}])").match(tex, at)
        return (Macro(target[1]), target.end()) if target else None
    if found["primitive"]:
        parameters = re.compile(r"\s*((?:#\d\s*)*)").match(tex, at)
        number, at = parameters[1].count("#"), parameters.end()
    elif found["command"]:
        stated = re.compile(r"\s*\[\s*(\d)\s*\]\s*(?:\[([^][]{0,200})\])?").match(tex, at)
        if stated:
            number, default, at = int(stated[1]), stated[2], stated.end()
    body = _group(tex, at)
    if body is None:
        return None
    inner, at = body
    if found["operator"]:
        return Macro(f"\\operatorname{found['star']}{{{inner}}}"), at
    if found["pair"]:
        right = _group(tex, at)
        return (Macro(f"\\left{inner}#1\\right{right[0]}", 1), right[1]) if right else None
    return Macro(inner, number, default), at


def _group(tex: str, at: int) -> tuple[str, int] | None:
    """What stands in braces at `at` (behind blanks), or one token, and where it ends."""
    while at < len(tex) and tex[at].isspace():
        at += 1
    if at >= len(tex) or tex[at] == "}":
        return None
    if tex[at] != "{":
        token = _TOKEN.match(tex, at)
        return (token[0], token.end()) if token else None
    depth = 0
    for token in _TOKEN.finditer(tex, at, at + MAX_BODY):
        depth += (token[0] == "{") - (token[0] == "}")
        if depth == 0:
            return tex[at + 1 : token.start()], token.end()
    return None


def _arguments(tex: str, at: int, macro: Macro) -> tuple[list[str], int]:
    values: list[str] = []
    if macro.arguments and macro.default is not None:
        given = re.compile(r"\s*\[([^][]{0,400})\]").match(tex, at)
        values.append(given[1] if given else macro.default)
        at = given.end() if given else at
    elif macro.body.startswith("\\left") and at < len(tex) and tex[at] == "*":
        at += 1
    while len(values) < macro.arguments:
        group = _group(tex, at)
        if group is None:
            values.append("")
            continue
        values.append(group[0])
        at = group[1]
    return values, at


def _filled(body: str, values: list[str]) -> str:
    if "#" not in body:
        return body
    parts = re.split(r"(?<!\\)#(\d)", body)
    out = parts[0]
    for index, rest in zip(parts[1::2], parts[2::2], strict=True):
        value = values[int(index) - 1] if 0 < int(index) <= len(values) else ""
        if value[:1].isalpha() and re.search(r"\\[A-Za-z]+\Z", out):
            out += " "
        out += value + rest
    return out


def _without_listings(html: str) -> str:
    """`html` without the insides of elements that show code."""
    out, at, inside = [], 0, ""
    for tag in _LISTING_TAG.finditer(html):
        name = tag[2].lower()
        if not inside and not tag[1]:
            out.append(html[at : tag.start()])
            inside = name
        elif inside == name and tag[1]:
            inside, at = "", tag.end()
    return " ".join(out) + ("" if inside else html[at:])


def _js_string(literal: str) -> str:
    if literal.startswith("String.raw"):
        return literal[11:-1]
    body = literal[1:-1]
    try:
        return json.loads('"' + body.replace('"', '\\"') + '"') if literal[0] != '"' else json.loads(literal)
    except ValueError:
        return re.sub(r"\\(.)", r"\1", body, flags=re.S)


def _without_markup(macro: Macro) -> Macro:
    """The body as the browser hands it to the renderer."""
    if "&" not in macro.body and "<" not in macro.body:
        return macro
    body = entities.unescape(re.sub(r"</?[a-zA-Z][^<>]*>", "", macro.body))
    return dataclasses.replace(macro, body=body)
