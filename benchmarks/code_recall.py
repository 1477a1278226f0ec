r"""How many code blocks of real pages come out character for character, in a fence, with the language the page gives.

    python -m benchmarks.code_recall [--data DIR] [--peer PYTHON]... [--extra DIR] [--losses FILE]

The truth is read with html5lib, as browsers build the tree, and shares nothing with the extractor: the text of
every `pre` (and of Doxygen's and GitHub's line tables) without line numbers and buttons, which are known by
their class. White space counts, but for blanks at the end of lines and blank lines around the block. Each fence
of the output is used once. A lost block is *mangled* where half of its lines are in the output, or *dropped*.
`verbatim` asks only that the text is somewhere in the output, in a fence or not, or indented by four.
"""

import collections
import dataclasses
import json
import pathlib
import re
import unicodedata

from benchmarks import formula_truth
from benchmarks.formula_recall import measure, show, texts_of

# Classes of what highlighters put beside the code.
GUTTERS = frozenset((
    "linenos", "lineno", "linenodiv", "linenumbers", "line-numbers-rows", "line-number", "line-numbers", "gutter",
    "gl", "rouge-gutter", "hljs-ln-numbers", "blob-num", "lnt", "ln", "crayon-nums", "code-line-number", "lineNumbers",
    "syntaxhighlighter-line-numbers", "copybtn", "copy-button", "copy-btn", "btn-copy", "btn-clipboard", "clipboard",
    "code-copy", "code-copy-btn", "copy-code-button", "md-clipboard", "headerlink", "zeroclipboard-container",
    "viewcode-back",
))  # fmt: skip
# These wrap code too: `pre.line-numbers` of Prism, `table.lineno` of GeSHi.
_WRAPS_CODE = frozenset(("pre", "table", "figure", "code"))
_BLOCKS = frozenset(
    (
        "div",
        "p",
        "li",
        "tr",
        "ol",
        "ul",
        "table",
        "tbody",
        "blockquote",
        "section",
        "dd",
        "dt",
        "h1",
        "h2",
        "h3",
    )
)
_SILENT = frozenset(("script", "style", "button", "template", "textarea", "select", "svg", "noscript"))
_LANGUAGE = re.compile(
    r"(?:^|\s)(?:language-|lang-|highlight-source-|highlight-|brush:\s*|sourceCode\s+)([A-Za-z][\w+#.-]*)"
)
_HEXO = re.compile(r"^highlight\s+([A-Za-z][\w+#.-]*)$")
_NO_LANGUAGE = frozenset((
    "default", "none", "notranslate", "text", "plain", "plaintext", "nohighlight", "highlight", "source", "code", "txt",
    "wrapper", "rouge", "highlighter-rouge", "output", "no-highlight", "undefined", "literal-block", "hljs",
))  # fmt: skip
_FENCE = re.compile(
    r"^(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^\n`]*)\n(?P<code>.*?)^[ \t]*(?P=fence)[`~]*[ \t]*$",
    re.M | re.S,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """A code block of a page: its text, the language that the page gives ("" if none), who highlighted it."""

    code: str
    language: str
    highlighter: str


def tidy(code: str) -> str:
    """Code as it is compared: NFC, lines without trailing blanks, no blank lines around."""
    code = unicodedata.normalize("NFC", code.replace("\r\n", "\n").replace("\r", "\n"))
    return "\n".join(line.rstrip() for line in code.split("\n")).strip("\n")


def blocks(html: str) -> list[Block]:
    """The code blocks of a page in document order; `html` is decoded text."""
    root = formula_truth.parse(html)
    parents = {child: parent for parent in root.iter() for child in parent}
    found, seen = [], set()
    for element in root.iter():
        if not isinstance(element.tag, str) or not _is_block(element):
            continue
        above = _ancestors(element, parents)
        if any(a in seen for a in above) or any(_is_gutter(a) for a in (element, *above)):
            continue
        if any(a.tag in _SILENT for a in above):
            continue
        seen.add(element)
        code = tidy(_doxygen_text(element) if element.tag == "div" else _text(element))
        near = [element, *(c for c in element if isinstance(c.tag, str) and c.tag == "code"), *above[:5]]
        language = _language(near)
        if code.strip() and language not in ("math", "katex", "latex-math"):
            found.append(Block(code, language, _highlighter(element, near)))
    return found


def _is_block(element) -> bool:
    classes = (element.get("class") or "").split()
    return (
        element.tag == "pre"
        or (
            element.tag == "div"
            and "fragment" in classes
            and any("line" in (c.get("class") or "").split() for c in element)
        )
        or (
            element.tag == "table"
            and any("blob-code" in (c.get("class") or "").split() for c in element.iter("td"))
        )
    )


def _lines(fragment) -> list:
    return [each for each in fragment.iter("div") if "line" in (each.get("class") or "").split()]


def _doxygen_text(fragment) -> str:
    """Doxygen's lines are elements; blanks between them, and tooltips behind them, are not shown."""
    lines = _lines(fragment)
    numbered = any(
        "lineno" in (span.get("class") or "").split() for line in lines for span in line.iter("span")
    )
    texts = [_text(line).strip("\n") for line in lines]
    # A number is followed by one blank.
    return "\n".join(text[1:] if numbered and text[:1] in ("\xa0", " ") else text for text in texts)


def _ancestors(element, parents) -> list:
    found = []
    while (element := parents.get(element)) is not None:
        found.append(element)
    return found


def _is_gutter(element) -> bool:
    return element.tag not in _WRAPS_CODE and not GUTTERS.isdisjoint((element.get("class") or "").split())


def _text(block) -> str:
    """What a reader would copy: breaks where elements break lines, nothing of gutters and buttons."""
    out: list[str] = []

    def fresh_line() -> None:
        if out and not out[-1].endswith("\n"):
            out.append("\n")

    # Without recursion: (element, whether it is opened here).
    stack: list = [(block, True)]
    while stack:
        element, opening = stack.pop()
        if not opening:
            if element.tag in _BLOCKS:
                fresh_line()
            if element.tail and element is not block:
                out.append(element.tail)
            continue
        silent = (
            not isinstance(element.tag, str)
            or element.tag in _SILENT
            or (element is not block and _is_gutter(element))
        )
        stack.append((element, False))
        if silent:
            continue
        if element.tag == "br":
            out.append("\n")
        if element.tag in _BLOCKS and element is not block:
            fresh_line()
        if element.text:
            out.append(element.text)
        stack += [(child, True) for child in reversed(element)]
    return "".join(out)


def _language(near: list) -> str:
    for element in near:
        classes = " ".join((element.get("class") or "").split())
        stated = element.get("data-lang") or element.get("data-language") or ""
        if not stated and element.tag in ("pre", "code") and len(element.get("lang") or "") > 3:
            stated = element.get("lang")  # as cmark writes it; "en" and "fr" are no programming languages
        found = _LANGUAGE.search(classes)
        hexo = _HEXO.match(classes) if element.tag in ("figure", "div") else None
        language = (stated or (found[1] if found else "") or (hexo[1] if hexo else "")).lower()
        if language and language not in _NO_LANGUAGE and len(language) <= 30:
            return language
    return ""


def _highlighter(block, near: list) -> str:
    classes = " ".join(element.get("class") or "" for element in near)
    inner = {name for e in block.iter() if isinstance(e.tag, str) for name in (e.get("class") or "").split()}
    if block.tag == "div":
        return "Doxygen"
    if block.tag == "table":
        return "GitHub table"
    for name, sign in (
        ("Rouge", "rouge"), ("Shiki", "shiki"), ("highlight.js", "hljs"), ("Prism", "prism"),
        ("prettify", "prettyprint"), ("SyntaxHighlighter", "brush:"), ("Pandoc", "sourceCode"), ("Crayon", "crayon"),
    ):  # fmt: skip
        if sign in classes:
            return name
    if "token" in inner and "language-" in classes:
        return "Prism"
    if any(element.tag == "figure" and "highlight" in (element.get("class") or "") for element in near):
        return "Hexo"
    if re.search(r"\b(?:highlight|codehilite|chroma)\b", classes):
        return "Chroma" if "chroma" in classes else "Pygments"
    return "language stated" if "language-" in classes or "lang-" in classes else "plain"


def fences(text: str) -> list[tuple[str, str]]:
    """(language, code) of the fenced blocks of an output."""
    found = []
    for match in _FENCE.finditer(text):
        indent, code = match["indent"], match["code"]
        if indent:
            code = "\n".join(line.removeprefix(indent) for line in code.split("\n"))
        found.append((match["info"].strip().split(" ")[0].lower(), tidy(code)))
    return found


def score(truth: list[Block], text: str) -> tuple[dict[str, collections.Counter], list]:
    """Counts by highlighter (and under "" for all), and the blocks that were lost."""
    left: dict[str, list[str]] = collections.defaultdict(list)
    count = 0
    for language, code in fences(text):
        left[code].append(language)
        count += 1
    whole = tidy(text)
    dedented = re.sub(r"^ {4}", "", whole, flags=re.M)
    lines = {line.strip() for line in whole.split("\n")}
    tallies: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    tallies[""]["fences"] = count
    lost = []
    for block in truth:
        languages = left.get(block.code)
        is_found = bool(languages)
        given = ""
        if languages:
            given = languages.pop(languages.index(block.language) if block.language in languages else 0)
        kept = [line.strip() in lines for line in block.code.split("\n") if line.strip()]
        kind = "mangled" if 2 * sum(kept) >= len(kept) else "dropped"
        for tally in (tallies[""], tallies[block.highlighter]):
            tally["blocks"] += 1
            tally["found"] += is_found
            tally["verbatim"] += is_found or block.code in whole or block.code in dedented
            tally[kind] += not is_found
            if block.language and is_found:
                tally["languages"] += 1
                tally["languages_right"] += given == block.language
        if not is_found:
            lost.append((kind, block))
    return tallies, lost


COLUMNS = (
    "recall", "verbatim", "macro_recall", "mangled", "dropped", "precision", "language", "failed_pages",
)  # fmt: skip


def run(pages, tools: dict[str, str], losses: pathlib.Path | None) -> dict:
    htmls = [html for _, _, html in pages]
    truths = [blocks(html) for html in htmls]
    print(f"{len(pages)} pages, {sum(map(len, htmls)) / 1e6:.0f} MB, {sum(map(len, truths))} code blocks")
    show("tool", None, COLUMNS)
    rows = {}
    for tool, interpreter in {"Lode": "", **tools}.items():
        texts, _, failed = texts_of(interpreter, tool, htmls)
        total: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
        domains: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
        notes = []
        for (domain, url, _), truth, text in zip(pages, truths, texts, strict=True):
            tallies, lost = score(truth, text)
            for name, tally in tallies.items():
                total[name].update(tally)
            domains[domain].update(tallies[""])
            notes += [(kind, url, b.highlighter, b.code) for kind, b in lost]
        macro = [d["found"] / d["blocks"] for d in domains.values() if d["blocks"] >= 10]
        row = {
            **_rates(total[""]),
            "macro_recall": round(sum(macro) / len(macro), 4) if macro else None,
            "precision": round(total[""]["found"] / total[""]["fences"], 4) if total[""]["fences"] else None,
            "failed_pages": failed,
            "by_highlighter": {name: _rates(tally) for name, tally in sorted(total.items()) if name},
            "by_domain": {name: _rates(tally) for name, tally in sorted(domains.items()) if tally["blocks"]},
        }
        rows[tool] = row
        show(tool, row, COLUMNS)
        if tool == "Lode":
            for name, tally in [*row["by_highlighter"].items(), *row["by_domain"].items()]:
                print(f"    {name:<30}" + "  ".join(f"{key} {value}" for key, value in tally.items()))
            if losses:
                losses.write_text("".join(json.dumps(note, ensure_ascii=False) + "\n" for note in notes))
    return {"pages": len(pages), "blocks": sum(map(len, truths)), "tools": rows}


def _rates(tally: collections.Counter) -> dict:
    count, languages = tally["blocks"] or 1, tally["languages"]
    return {
        "blocks": tally["blocks"],
        "recall": round(tally["found"] / count, 4),
        **{key: round(tally[key] / count, 4) for key in ("verbatim", "mangled", "dropped")},
        "language": round(tally["languages_right"] / languages, 4) if languages else None,
    }


def main() -> None:
    hint = re.compile(r"<pre\b|class=.?fragment", re.I)
    measure("code_recall", __doc__.splitlines()[0], "code", run, 60, hint)


if __name__ == "__main__":
    main()
