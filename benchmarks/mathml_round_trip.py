"""Bare MathML to LaTeX and back: `python -m benchmarks.mathml_round_trip [--formulas N] [--show GENERATOR]`.

Takes formulas whose MathML has no TeX beside it (or whose annotation is deleted first), converts them, lets
KaTeX render the LaTeX, and compares both MathML trees as sequences of structures and characters. The MathML
comes from the pages of the sample crawl, and from KaTeX, MathJax, Temml and, where they are installed, Pandoc
and LaTeXML, which all render the same TeX: that of the sample's own pages and `FORMULAS` below.

Needs node and npm; the npm packages are installed into a cache folder.
"""

import argparse
import collections
import difflib
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import tempfile
import unicodedata
from collections.abc import Iterator

from lxml import etree
from lxml import html as lxml_html

from benchmarks.record import SAMPLE, record
from corpus.charset import decode
from corpus.formulas import clean_tex
from corpus.mathml import TooDeepError, local_name, mathml_to_latex
from corpus.warc import read_warc

NODE_PACKAGES = ("katex@0.16.25", "temml@0.11.11", "mathjax-full@3.2.2")
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "lode" / "benchmarks"

# What mathematics pages hold that the sample may lack.
FORMULAS = r"""
\int_{-\infty}^{\infty} e^{-x^2}\,dx = \sqrt{\pi}
\lim_{n\to\infty}\left(1+\frac{1}{n}\right)^n = e
\sum_{\substack{0\le i\le m\\ 0<j<n}} P(i,j)
\begin{pmatrix} a_{11} & \cdots & a_{1n} \\ \vdots & \ddots & \vdots \\ a_{m1} & \cdots & a_{mn} \end{pmatrix}
f(x) = \begin{cases} x^2 & \text{if } x \ge 0 \\ -x & \text{otherwise} \end{cases}
\binom{n}{k} = \frac{n!}{k!(n-k)!}
\begin{aligned} a &= b + c \\ &= d \end{aligned}
\overbrace{a+b+c}^{\text{sum}} + \underbrace{x+y}_{2}
\hat{x} + \tilde{y} + \bar{z} + \vec{v} + \dot{q} + \ddot{q} + \widehat{abc} + \overline{AB} + \underline{x}
\mathbb{R} \subset \mathbb{C},\ \mathcal{F} \in \mathfrak{g},\ \mathbf{x} = \mathsf{y} + \mathtt{z}
\left| \frac{a}{b} \right| \le \left\| x \right\|_2
\operatorname{rank}(A) + \operatorname*{argmax}_{x} f(x)
A \xrightarrow{f} B \xleftarrow[g]{h} C
\forall x \in X \; \exists y : x \neq y \wedge \neg (x \subseteq y)
\nabla \times \mathbf{E} = -\frac{\partial \mathbf{B}}{\partial t}
\sqrt[3]{\frac{a^2+b^2}{c}}
a \equiv b \pmod{n}
\left\langle \psi \middle| \phi \right\rangle
\boxed{E = mc^2}
{}_2F_1(a,b;c;z)
\oint_C \vec{F}\cdot d\vec{r} = \iint_S \nabla\times F\,dS
\prod_{p} \frac{1}{1-p^{-s}} \stackrel{?}{=} \zeta(s)
x \overset{!}{=} y \underset{n}{\sim} z
\lfloor x \rfloor + \lceil y \rceil \approx \left\lfloor \frac{a}{b} \right\rfloor
f''(x) + f'_n = g^{\prime\prime}
\max_{1\le i\le n} a_i \ge \inf_{x} \sup_y h(x,y)
\left[\begin{array}{cc|c} 1 & 2 & 3 \\ 4 & 5 & 6 \end{array}\right]
\cancel{x} + \frac{\cancel{a}b}{c}
\det\begin{vmatrix} a & b \\ c & d \end{vmatrix} = ad - bc
\dfrac{1}{2} \tfrac{1}{3} \cfrac{1}{1+\cfrac{1}{x}}
\Pr(X \mid Y) = \mathrm{E}[X] \sim \mathcal{N}(\mu, \sigma^2)
a \not= b \not\in C
\coprod_{i} X_i \to \varinjlim F
\left(\begin{smallmatrix} a & b \\ c & d \end{smallmatrix}\right)
p \implies q \iff \lnot q \Rightarrow \lnot p
\mathrm{d}x \mathbin{\circ} f \colon A \hookrightarrow B \twoheadrightarrow C
""".strip().splitlines()

_SCRIPT = r"""
const lines = require('fs').readFileSync(0, 'utf8').split('\n').filter(Boolean).map(JSON.parse);
const [how, root] = process.argv.slice(2);
const load = name => require(require.resolve(name, {paths: [root]}));
let render;
if (how === 'katex') {
  const katex = load('katex');
  render = (tex, display) => katex.renderToString(tex, {displayMode: display, output: 'mathml', strict: false});
} else if (how === 'temml') {
  const temml = load('temml');
  render = (tex, display) => temml.renderToString(tex, {displayMode: display});
} else {
  const {mathjax} = load('mathjax-full/js/mathjax.js'), {TeX} = load('mathjax-full/js/input/tex.js');
  const {liteAdaptor} = load('mathjax-full/js/adaptors/liteAdaptor.js');
  const {RegisterHTMLHandler} = load('mathjax-full/js/handlers/html.js');
  const {AllPackages} = load('mathjax-full/js/input/tex/AllPackages.js');
  const {SerializedMmlVisitor} = load('mathjax-full/js/core/MmlTree/SerializedMmlVisitor.js');
  const {STATE} = load('mathjax-full/js/core/MathItem.js');
  RegisterHTMLHandler(liteAdaptor());
  const page = mathjax.document('', {InputJax: new TeX({packages: AllPackages.filter(p => p !== 'bussproofs')})});
  const visitor = new SerializedMmlVisitor();
  render = (tex, display) => {
    const out = visitor.visitTree(page.convert(tex, {display, end: STATE.CONVERT}));
    if (out.includes('<merror')) throw new Error('merror');
    return out;
  };
}
for (const {tex, display} of lines) {
  let out = null;
  try { out = render(tex, display); } catch (error) {}
  console.log(JSON.stringify(out));
}
"""


def node_folder() -> pathlib.Path:
    """A folder with the npm packages; raises SystemExit where node or npm are missing."""
    if not (shutil.which("node") and shutil.which("npm")):
        raise SystemExit("This benchmark needs node and npm on the PATH.")
    CACHE.mkdir(parents=True, exist_ok=True)
    wanted = CACHE / "package.json"
    if not wanted.exists() or any(
        package.rsplit("@", 1)[0] not in wanted.read_text() for package in NODE_PACKAGES
    ):
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(CACHE)]
        subprocess.run([*command, *NODE_PACKAGES], check=True)
    return CACHE


def rendered(how: str, formulas: list[tuple[str, bool]]) -> list[str | None]:
    """MathML by `katex`, `temml` or `mathjax`; None where it refuses the TeX."""
    folder = node_folder()
    script = folder / "render.js"
    script.write_text(_SCRIPT)
    lines = "\n".join(json.dumps({"tex": tex, "display": display}) for tex, display in formulas)
    command = ["node", str(script), how, str(folder)]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def by_pandoc(formulas: list[tuple[str, bool]]) -> list[str | None]:
    """MathML by Pandoc, one formula a paragraph."""
    paragraphs = "\n\n".join(
        f'<p class="f{index}">\n${tex}$\n</p>' if not display else f'<p class="f{index}">\n$${tex}$$\n</p>'
        for index, (tex, display) in enumerate(formulas)
    )
    command = ["pandoc", "--from", "markdown", "--to", "html", "--mathml"]
    done = subprocess.run(command, input=paragraphs, capture_output=True, text=True, check=True)
    out: list[str | None] = [None] * len(formulas)
    for index, markup in re.findall(r'<p class="f(\d+)">(.*?)(?=<p class="f|\Z)', done.stdout, re.S):
        math = re.findall(r"<math\b.*?</math>", markup, re.S)
        out[int(index)] = math[0] if len(math) == 1 else None
    return out


def by_latexml(formulas: list[tuple[str, bool]]) -> list[str | None]:
    """MathML by LaTeXML: one document of all formulas, taken apart again by their order."""
    body = "\n\n".join(f"F{index}: $\\displaystyle {tex}$" for index, (tex, _) in enumerate(formulas))
    text = (
        "\\documentclass{article}\n\\usepackage{amsmath,amssymb,mathtools}\n\\begin{document}\n"
        f"{body}\n\\end{{document}}\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "formulas.tex"
        path.write_text(text)
        # It leaves its logs where it is run.
        quiet = {"check": True, "capture_output": True, "timeout": 1800, "cwd": folder}
        subprocess.run(["latexml", "--quiet", "--destination", f"{path}.xml", str(path)], **quiet)
        post = ["latexmlpost", "--quiet", "--format", "html5", "--pmml", "--nodefaultresources"]
        subprocess.run([*post, "--destination", f"{path}.html", f"{path}.xml"], **quiet)
        page = pathlib.Path(f"{path}.html").read_text()
    out: list[str | None] = [None] * len(formulas)
    for index, markup in re.findall(r">F(\d+): (.*?)</p>", page, re.S):
        math = re.findall(r"<math\b.*?</math>", markup, re.S)
        if len(math) == 1 and "ltx_ERROR" not in math[0]:
            out[int(index)] = math[0]
    return out


def pages() -> Iterator[str]:
    """HTML of the sample crawl's pages that hold MathML or TeX scripts."""
    for path in sorted((SAMPLE / "web").glob("dev-*.warc.gz")):
        for found in read_warc(str(path)):
            if found.reason is None and re.search(rb"<(?:\w+:)?math\b|math/tex|\\\(", found.payload):
                yield decode(found.payload, found.charset)


def bare(markup: str) -> etree._Element | None:
    """A parsed `math` element without annotations, TeX in attributes, or what a renderer hid for itself."""
    root = lxml_html.fragment_fromstring(markup, create_parent="div")
    math = next((node for node in root.iter() if local_name(node) == "math"), None)
    if math is None:
        return None
    for node in list(math.iter()):
        if local_name(node) in ("annotation", "annotation-xml"):
            node.getparent().remove(node)
        for name in [name for name in node.attrib if name == "alttext" or "latex" in name or "tex" in name]:
            del node.attrib[name]
    return math


# Structures that only group, and what renderers put in for the eye.
_TRANSPARENT = {"math", "mrow", "mstyle", "mpadded", "semantics", "mphantom", "maction", "merror"}
_SAME = str.maketrans({
    **dict.fromkeys("\u2061\u2062\u2063\u2064\u00a0\u200a\u200b\u200e\ufe0e", ""),
    **dict(zip("−‐∣∥·′’〈〉∗∶∖ϵφ◻∆Ωµ⌀∕⁄◦◇⟂", "--|‖⋅''⟨⟩*:\\εϕ□ΔΩμ∅//∘⋄⊥", strict=True)),
    **dict.fromkeys("ˉ‾―_￣", "¯"), **dict.fromkeys("ˆ\u0302", "^"), **dict.fromkeys("˜∼\u0303", "~"),
    **dict(zip("⃗˙˝⟶⟵⟹⟸⟺⟷⟼▪∎", '→."→←⇒⇐⇔↔↦■■', strict=True)), "″": "''", "‴": "'''", "⁗": "''''",
})  # fmt: skip
_BIG = re.compile(
    r"[∑∏∐∫∬∭∮⋂⋃⨆⋁⋀⨀⨁⨂⨄]|lim|limsup|liminf|max|min|sup|inf|det|gcd|Pr|(?:arg)?(?:max|min)|[a-z]*lim[←→]?"
)


def sequence(element: etree._Element) -> list[str]:
    """Structures and characters of a MathML tree in order; grouping, spacing and spelling left out."""
    name = local_name(element)
    children = [child for child in element if isinstance(child.tag, str)]
    if name in ("mi", "mn", "mo", "mtext") and not children:
        return _characters(element)
    if name == "ms":
        return ['"', *_characters(element), '"']
    if name in ("mspace", "annotation", "annotation-xml", "none", "maligngroup", "malignmark"):
        return []
    parts = [sequence(child) for child in children]
    if name == "mfenced":
        return _fenced(element, parts)
    if name == "mmultiscripts":
        return _multiscripts(children, parts)
    if name in ("msub", "msup", "msubsup", "munder", "mover", "munderover") and parts:
        return _scripted(name, children, parts)
    flat = [item for part in parts for item in part]
    if name in _TRANSPARENT or name not in (
        "mfrac", "msqrt", "mroot", "mtable", "mtr", "mtd", "mlabeledtr", "menclose",
    ):  # fmt: skip
        return flat
    if name in ("mfrac", "mroot"):
        bar = "0" if re.fullmatch(r"\s*0\D*", element.get("linethickness", "")) else ""
        return [f"{name}{bar}(", *(item for part in parts for item in [*part, ","]), ")"]
    if name == "mtd" and not flat:
        return ["mtd"]
    return [f"{name.replace('labeled', '')}(", *flat, ")"]


def _scripted(name: str, children: list[etree._Element], parts: list[list[str]]) -> list[str]:
    base = parts[0]
    word = "".join(item[-1] for item in base if "(" not in item)
    first = "_" if name in ("msub", "msubsup", "munder", "munderover") else "^"
    scripts = dict(zip(first + "^" * 2, parts[1:], strict=False))
    under_over = name.startswith(("mu", "mo")) and not _BIG.fullmatch(word)
    if not under_over and base and base[0] == "scripts(":
        return base
    if set("".join(scripts.get("^", []))) == {"'"} and not under_over:
        primes = ["'"] * len("".join(scripts["^"]))
        scripts["^"] = primes
    out = ["limits(" if under_over else "scripts(", *base]
    for sign in "_^":
        if scripts.get(sign):
            out += [sign, *scripts[sign]]
    return [*out, ")"] if len(out) > len(base) + 1 else base


def _multiscripts(children: list[etree._Element], parts: list[list[str]]) -> list[str]:
    before: list[str] = []
    after: list[str] = []
    target, index = after, 1
    while index < len(parts):
        if local_name(children[index]) == "mprescripts":
            target, index = before, index + 1
            continue
        for sign, part in zip("_^", parts[index : index + 2], strict=False):
            target += [sign, *part] if part else []
        index += 2
    front = ["scripts(", *before, ")"] if before else []
    return [*front, *(["scripts(", *parts[0], *after, ")"] if after else parts[0])]


def _fenced(element: etree._Element, parts: list[list[str]]) -> list[str]:
    separators = element.get("separators", ",").replace(" ", "")
    out = list(element.get("open", "(").strip().translate(_SAME))
    for index, part in enumerate(parts):
        if index and separators:
            out.append(separators[min(index, len(separators)) - 1])
        out += part
    return out + list(element.get("close", ")").strip().translate(_SAME))


def _characters(element: etree._Element) -> list[str]:
    variant = element.get("mathvariant", "")
    style = "" if variant in ("normal", "italic") or local_name(element) == "mtext" else variant
    out = []
    text = unicodedata.normalize("NFC", "".join(element.itertext()))
    for char in text:
        char_style = style
        name = unicodedata.name(char, "")
        plain = unicodedata.normalize("NFKC", char)
        if ord(char) > 0x2100 and plain != char and len(plain) == 1 and (plain.isalnum()):
            words = name.replace("BLACK-LETTER", "FRAKTUR")
            char_style = "-".join(
                word.lower()
                for word in (
                    "BOLD",
                    "ITALIC",
                    "DOUBLE-STRUCK",
                    "FRAKTUR",
                    "SCRIPT",
                    "SANS-SERIF",
                    "MONOSPACE",
                )
                if word in words and not (word == "ITALIC" and "BOLD" not in words)
            )
            char = plain
        for part in char.translate(_SAME):
            if not part.isspace():
                out.append(f"{char_style}:{part}" if char_style and part.isalnum() else part)
    return out


def tex_of(page: str) -> list[tuple[str, bool]]:
    """TeX that a page itself keeps beside its formulas."""
    import html as entities

    found = re.findall(r'<annotation encoding="application/x-tex">(.*?)</annotation>', page, re.S)
    scripts = re.findall(r'<script type="math/tex(; mode=display)?">(.*?)</script>', page, re.S)
    typed = re.findall(
        r"\\\((.{1,400}?)\\\)", re.sub(r"<(pre|code|script)\b.*?</\1>", "", page, flags=re.S), re.S
    )
    scripts += [("", entities.unescape(tex)) for tex in typed if "<" not in tex]
    pairs = [(entities.unescape(tex), False) for tex in found] + [(tex, bool(mode)) for mode, tex in scripts]
    return [(clean_tex(tex)[0], display) for tex, display in pairs]


def natural(page: str) -> list[str]:
    """MathML of a page that carries no TeX."""
    found = re.findall(r"<math\b[^>]*>.*?</math>", page, re.S)
    return [markup for markup in found if "application/x-tex" not in markup and "alttext" not in markup]


def compare(items: list[tuple[str, bool]]) -> tuple[dict[str, float], list[dict[str, str]]]:
    """Share of MathML that KaTeX parses back and gives back exactly, mean similarity, and what differs."""
    converted, references = [], []
    items = [(markup, display) for markup, display in items if bare(markup) is not None]
    for markup, display in items:
        math = bare(markup)
        try:
            latex = clean_tex(mathml_to_latex(math))[0]
        except TooDeepError:
            latex = ""
        converted.append((latex, display or "\\tag" in latex))
        references.append(sequence(math))
    back = rendered("katex", converted)
    parsed = exact = 0
    similarity = 0.0
    misses = []
    for (latex, _), (markup, _), reference, again in zip(converted, items, references, back, strict=True):
        result = sequence(bare(again)) if again else []
        parsed += again is not None
        exact += result == reference
        ratio = (
            difflib.SequenceMatcher(None, reference, result, autojunk=False).ratio()
            if result or reference
            else 1.0
        )
        similarity += ratio
        if result != reference:
            misses.append(
                {"latex": latex, "mathml": markup, "want": " ".join(reference), "got": " ".join(result)}
            )
    number = max(len(items), 1)
    return {
        "formulas": len(items),
        "parsed": round(parsed / number, 4),
        "exact": round(exact / number, 4),
        "similarity": round(similarity / number, 4),
    }, misses


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--formulas", type=int, default=800, help="TeX formulas taken from the sample")
    arguments.add_argument("--show", help="print what differs for this generator")
    arguments.add_argument(
        "--extra", type=pathlib.Path, action="append", default=[], help="a folder of HTML pages with MathML"
    )
    options = arguments.parse_args()
    tex: dict[tuple[str, bool], None] = dict.fromkeys((line, True) for line in FORMULAS)
    by_source: dict[str, list[str]] = collections.defaultdict(list)
    seen: set[str] = set()
    pool: dict[tuple[str, bool], None] = {}
    for page in pages():
        pool |= dict.fromkeys(tex_of(page))
        for markup in natural(page):
            if markup not in seen:
                seen.add(markup)
                by_source["pages"].append(markup)
    for folder in options.extra:
        for path in sorted(folder.rglob("*html")):
            by_source[folder.name] += natural(path.read_text(errors="replace"))
    chance = random.Random(7)
    wanted = sorted(item for item in pool if len(item[0]) >= 4 and re.search(r"[\\^_{}=+/<>-]", item[0]))
    tex |= dict.fromkeys(chance.sample(wanted, min(options.formulas, len(wanted))))
    formulas = list(tex)
    generators = {how: rendered(how, formulas) for how in ("katex", "temml", "mathjax")}
    if shutil.which("pandoc"):
        generators["pandoc"] = by_pandoc(formulas)
    if shutil.which("latexml"):
        generators["latexml"] = by_latexml(formulas)
    results = {}
    for how, markups in generators.items():
        items = [(markup, display) for markup, (_, display) in zip(markups, formulas, strict=True) if markup]
        results[how] = compare(items)
    for how, markups in by_source.items():
        unique = list(dict.fromkeys(markups))
        unique = chance.sample(unique, min(options.formulas, len(unique)))
        results[how] = compare([(markup, 'display="block"' in markup) for markup in unique])
    for how, (figures, misses) in results.items():
        print(how, figures)
        if how == options.show:
            for miss in misses:
                print(json.dumps(miss, ensure_ascii=False, indent=1))
    total = sum(figures["formulas"] for figures, _ in results.values())
    summary = {how: figures for how, (figures, _) in results.items()}
    summary["all"] = {
        name: round(sum(f[name] * f["formulas"] for f, _ in results.values()) / total, 4)
        for name in ("parsed", "exact", "similarity")
    } | {"formulas": total}
    print("all", summary["all"])
    if not options.show:
        record("mathml_round_trip", summary, ["lxml"])


if __name__ == "__main__":
    main()
