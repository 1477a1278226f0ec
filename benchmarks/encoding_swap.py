r"""The same formulas in each of the ten ways the web writes them: which of these does an extractor read?

    python -m benchmarks.encoding_swap [--peer PYTHON]... [--specs NAME,...] [--cache DIR]

Pages of documentation of the packages installed here, as the quickstart renders them, and pages of
mathematics from the sample crawl. Their formulas, where KaTeX can draw them, are written anew in each
encoding, everything else stays; so differences between columns are the encodings' alone. What is drawn in a
browser is drawn here by KaTeX through Node (installed into the cache folder on the first run). Recall is the
share of non-trivial formulas that come out as the same LaTeX between math delimiters.
"""

import argparse
import collections
import html
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest.mock
import urllib.parse
from collections.abc import Callable

from benchmarks import formula_truth, recall_peers
from benchmarks.formula_recall import add_sample_and_peers, sample_pages, segments, show, texts_of
from benchmarks.record import record
from corpus import docpages
from corpus.installed import PAGES_PER_PACKAGE, pages_of_part

BAR = 0.97
KATEX = "katex@0.16.22"
SPECS = "installed:sympy,installed:mpmath,installed:scipy,installed:numpy,installed:torch"
MIN_PER_PAGE, MAX_PER_PAGE = 5, 400
_MARK = "\ue000{}\ue001"
_MARKED = re.compile("\ue000(\\d+)\ue001")
_DRAW = """
const katex = require('katex');
for (const line of require('fs').readFileSync(0, 'utf8').trim().split('\\n')) {
  const {tex, display} = JSON.parse(line);
  let drawn = null;
  try {
    drawn = katex.renderToString(tex, {displayMode: display, throwOnError: true, strict: false});
  } catch (error) {}
  process.stdout.write(JSON.stringify(drawn) + '\\n');
}
"""


def katex_draws(formulas: list[tuple[str, bool]], cache: pathlib.Path) -> list[str | None]:
    """KaTeX's HTML for each formula, None where it cannot draw it. Needs Node and, once, npm's registry."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        sys.exit("this benchmark draws formulas with KaTeX: install Node.js (node and npm)")
    cache.mkdir(parents=True, exist_ok=True)
    if not (cache / "node_modules" / "katex").exists():
        subprocess.run([npm, "install", "--silent", "--prefix", str(cache), KATEX], check=True)
    lines = "\n".join(json.dumps({"tex": tex, "display": display}) for tex, display in formulas)
    done = subprocess.run(
        [node, "-e", _DRAW], input=lines, capture_output=True, text=True, check=True, cwd=cache
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


# --- ten encodings: (TeX, display, KaTeX's HTML, number) to HTML --------------------------------------------


def _math(drawn: str) -> str:
    return drawn[drawn.index("<math") : drawn.index("</math>") + len("</math>")]


def _without_annotation(math: str) -> str:
    return re.sub(r"<annotation\b.*?</annotation>", "", math, flags=re.S)


def _typed(tex, display, drawn, number):
    text = html.escape(tex, quote=False)
    return f"\\[{text}\\]" if display else f"\\({text}\\)"


def _stack_exchange(tex, display, drawn, number):
    text = html.escape(tex, quote=False)
    return f'<span class="math-container">{f"$${text}$$" if display else f"${text}$"}</span>'


def _script(tex, display, drawn, number):
    return f'<script type="math/tex{"; mode=display" if display else ""}">{tex}</script>'


def _mathjax_2(tex, display, drawn, number):
    frame = f"MathJax-Element-{number + 1}"
    math = _without_annotation(_math(drawn))
    glyphs = html.escape(re.sub(r"<[^>]+>", "", math), quote=False)
    body = (
        f'<span class="MathJax" id="{frame}-Frame" tabindex="0" data-mathml="{html.escape(math)}" role="presentation" '
        f'style="position: relative;"><nobr aria-hidden="true"><span class="math" id="MathJax-Span-{number}">'
        f'<span class="mrow"><span class="mi">{glyphs}</span></span></span></nobr>'
        f'<span class="MJX_Assistive_MathML" role="presentation">{math}</span></span>'
    )
    if display:
        body = f'<div class="MathJax_Display" style="text-align: center;">{body}</div>'
    mode = "; mode=display" if display else ""
    return f'<span class="MathJax_Preview"></span>{body}<script type="math/tex{mode}" id="{frame}">{tex}</script>'


def _katex(tex, display, drawn, number):
    return drawn


def _mathml(tex, display, drawn, number):
    return _math(drawn)


def _alttext(tex, display, drawn, number):
    mode = "block" if display else "inline"
    inner = re.sub(
        r"^<math[^>]*>(?:<semantics>)?|(?:</semantics>)?</math>$", "", _without_annotation(_math(drawn))
    )
    return (
        f'<math id="m{number}" class="ltx_Math" alttext="{html.escape(tex)}" display="{mode}">{inner}</math>'
    )


def _wikipedia(tex, display, drawn, number):
    mode, block = ("display", ' display="block"') if display else ("inline", "")
    styled = html.escape(f"{{\\displaystyle {tex}}}")
    inner = re.sub(r"^<math[^>]*>|</math>$", "", _without_annotation(_math(drawn)))
    inner = re.sub(r"</?semantics>", "", inner)
    return (
        f'<span class="mwe-math-element mwe-math-element-{"block" if display else "inline"}">'
        f'<span class="mwe-math-mathml-{mode} mwe-math-mathml-a11y" style="display: none;">'
        f'<math xmlns="http://www.w3.org/1998/Math/MathML"{block} '
        f'alttext="{styled}"><semantics>{inner}<annotation encoding="application/x-tex">{styled}</annotation>'
        f'</semantics></math></span><img src="https://wikimedia.org/api/rest_v1/media/math/render/svg/{number:040x}" '
        f'class="mwe-math-fallback-image-{mode} mw-invert" aria-hidden="true" style="vertical-align: -0.8ex;" '
        f'alt="{styled}"></span>'
    )


def _wordpress(tex, display, drawn, number):
    return (
        f'<img src="https://s0.wp.com/latex.php?latex={urllib.parse.quote_plus(tex)}&#038;bg=ffffff&#038;fg=333333'
        f'&#038;s=0&#038;c=20201002" alt="{html.escape(tex)}" class="latex" />'
    )


def _codecogs(tex, display, drawn, number):
    query = (
        urllib.parse.quote(tex, safe="\\{}^_=()[],.;:|!'*/").replace("%20", "&space;").replace("+", "&plus;")
    )
    return f'<img src="https://latex.codecogs.com/svg.image?{html.escape(query)}" />'


ENCODINGS: dict[str, Callable] = {
    "\\( \\)": _typed,
    "SE $": _stack_exchange,
    "math/tex": _script,
    "MathJax 2": _mathjax_2,
    "KaTeX": _katex,
    "MathML": _mathml,
    "alttext": _alttext,
    "Wikipedia": _wikipedia,
    "WordPress": _wordpress,
    "codecogs": _codecogs,
}

# --- pages with a mark where each formula was ---------------------------------------------------------------


def documentation_pages(specs: list[str], per_package: int) -> list[tuple[str, list[tuple[str, bool]]]]:
    """(HTML with marks, formulas) of pages as the quickstart renders them."""
    pages = []
    taken: collections.Counter[str] = collections.Counter()
    formulas: list[tuple[str, bool]] = []

    def mark(code: str, block: bool, style: str) -> str:
        formulas.append((code, block))
        return _MARK.format(len(formulas) - 1)

    with unittest.mock.patch.object(docpages, "formula", mark):
        for group in pages_of_part(specs, 0, 1, 0, PAGES_PER_PACKAGE):
            for page in group:
                formulas.clear()
                if taken[page.package] < per_package and "math" in page.text + page.package:
                    text, _ = docpages.render(page, [])
                    if len(formulas) >= MIN_PER_PAGE:
                        taken[page.package] += 1
                        pages.append((text, list(formulas)))
    return pages


def crawled_pages(data: pathlib.Path, per_domain: int) -> list[tuple[str, list[tuple[str, bool]]]]:
    """The same from real pages that type their formulas: each is found again in the page's source."""
    pages = []
    taken: collections.Counter[str] = collections.Counter()
    for domain, _, source in sample_pages(data, "math"):
        if taken[domain] >= per_domain or "\ue000" in source:
            continue
        truth = formula_truth.read(source)
        typed = [formula for formula in truth.formulas if formula.encoding.startswith("typed")]
        if not MIN_PER_PAGE <= len(typed) <= MAX_PER_PAGE or len(typed) < len(truth.formulas):
            continue
        out, at, formulas = [], 0, []
        for formula in typed:
            tex = formula.tex
            for written in (html.escape(tex, quote=False), html.escape(tex), tex):
                opening = r"(?:\\\(|\\\[|\${1,2})"
                closing = r"(?:\\\)|\\\]|\${1,2})"
                pattern = (
                    re.escape(written)
                    if tex.startswith("\\begin")
                    else opening + re.escape(written) + closing
                )
                found = re.compile(pattern).search(source, at)
                if found:
                    out += [source[at : found.start()], _MARK.format(len(formulas))]
                    formulas.append((tex.strip(), formula.display))
                    at = found.end()
                    break
        if len(formulas) >= MIN_PER_PAGE:
            taken[domain] += 1
            pages.append(("".join([*out, source[at:]]), formulas))
    return pages


def write(page: str, drawings: list[tuple[str, bool, str | None]], encoding: Callable) -> str:
    """A page with its formulas in one encoding; those that KaTeX cannot draw leave a gap."""

    def put(match: re.Match[str]) -> str:
        tex, display, drawn = drawings[int(match[1])]
        if drawn is None or "</" in tex:
            return ""
        return encoding(tex, display, drawn, int(match[1]))

    return _MARKED.sub(put, page)


def recall(pages: list[list[str]], texts: list[str]) -> tuple[int, int]:
    """Formulas (already normalised, by page) found between delimiters, and how many there are."""
    found = count = 0
    for formulas, text in zip(pages, texts, strict=True):
        left = collections.Counter(formula_truth.normalise(body) for body in segments(text))
        for normal in formulas:
            count += 1
            found += left[normal] > 0
            left[normal] -= left[normal] > 0
    return found, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_sample_and_peers(parser)
    parser.add_argument("--specs", default=SPECS, help="packages whose documentation is rendered")
    parser.add_argument("--per-source", type=int, default=25, help="pages from one package or domain")
    default = pathlib.Path(tempfile.gettempdir()) / "lode-katex"
    parser.add_argument("--cache", type=pathlib.Path, default=default, help="where KaTeX is installed")
    arguments = parser.parse_args()
    sets = {"documentation": documentation_pages(arguments.specs.split(","), arguments.per_source)}
    if (arguments.data / "labels.parquet").exists():
        sets["crawl"] = crawled_pages(arguments.data, arguments.per_source)
    tools = recall_peers.available(arguments.peer)
    result: dict = {"katex": KATEX, "peers": recall_peers.versions(arguments.peer)}
    for name, templates in sets.items():
        drawn = iter(katex_draws([f for _, formulas in templates for f in formulas], arguments.cache))
        pages = [(page, [(*formula, next(drawn)) for formula in formulas]) for page, formulas in templates]
        truth = [
            [
                normal
                for tex, _, picture in drawings
                if picture
                and "</" not in tex
                and not formula_truth.is_trivial(normal := formula_truth.normalise(tex))
            ]
            for _, drawings in pages
        ]
        print(f"{name}: {len(pages)} pages, {sum(map(len, truth))} formulas")
        show("tool", None, tuple(ENCODINGS))
        written = {
            e: [write(page, drawings, make) for page, drawings in pages] for e, make in ENCODINGS.items()
        }
        rows = {}
        for tool, interpreter in {"Lode": "", **tools}.items():
            row = {}
            for encoding, htmls in written.items():
                texts = texts_of(interpreter, tool, htmls)[0]
                found, count = recall(truth, texts)
                row[encoding] = round(found / count, 4) if count else None
            rows[tool] = row
            show(tool, row, tuple(ENCODINGS))
        result[name] = {"pages": len(pages), "formulas": sum(map(len, truth)), "recall": rows}
    record("encoding_swap", result, ["lode", "lxml", "resiliparse", "html5lib"])


if __name__ == "__main__":
    main()
