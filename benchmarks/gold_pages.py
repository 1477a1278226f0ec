"""Public web pages with labelled main content, gathered for `benchmarks.content_quality`.

The pages are the test fixtures of other extractors, fetched from PyPI at fixed versions, and the sample crawl's:

| set | pages from | label |
|---|---|---|
| newspaper | PyPI newspaper4k 0.9.6: news in nine languages | text of the article |
| trafilatura | PyPI trafilatura 1.0.0: blogs, shops, news, mostly German | segments that must be found, and must not |
| manuals | the sample crawl, where it is there: manuals of 18 sites | text of the element with the content |

newspaper4k's labels were made by an extractor and read by a person, so they favour its lineage; its front pages are
left out. Which element has the content in the last set was chosen by hand for each site (CONTENT); pages with
formulas are left out, because their words depend on how the formulas are written down.
"""

import argparse
import ast
import dataclasses
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator

from lxml import html as lxml_html

from benchmarks.record import SAMPLE
from corpus.charset import decode
from corpus.urls import registered_domain
from corpus.warc import read_warc

SDISTS = ("newspaper4k==0.9.6", "trafilatura==1.0.0")
# A shorter page says too little to be measured.
WHOLE_LABEL = 1000
SPLIT_SEED = "lode"
GOLD = pathlib.Path.home() / ".cache" / "lode" / "gold"
# Where the templates of sites of the sample crawl have the content, and what is not read there.
CONTENT = {
    "ab-in.cn": "//div[contains(@class, 'article-entry')]",
    "cmake.org": "//div[@class='body']",
    "dccouncil.us": "//main",
    "dynare.org": "//div[@class='body']",
    "eigen.tuxfamily.org": "//div[@class='contents']",
    "metamath.org": "//div[@class='contentContainer']",
    "nemocas.github.io": "//article[@id='documenter-page']",
    "nutriverse.io": "//main",
    "oracle.com": "//main",
    "palletsprojects.com": "//div[@class='body']",
    "python.org": "//div[@class='body']",
    "regina-normal.github.io": "//div[@class='contents']",
    "scikit-learn.org": "//div[@role='main']",
    "scrapy.org": "//div[@itemprop='articleBody']",
    "sqlalchemy.org": "//div[@id='docs-body']",
    "statsmodels.org": "//div[@class='body']",
    "thephysicsvirtuosi.com": "//div[contains(@class, 'entry-content')]",
    "yianwillis.github.io": "//article",
}
UNREAD = "//a[@class='headerlink'] | //button | //noscript | //div[@class='ttc'] | //*[@hidden]"
PAGES_A_SITE = 8
_FORMULA = re.compile(rb"""<math\b|\\[(\[]|\$\$|class=["'](?:math|katex|MathJax)|math/tex""")
_LOADS = re.compile(r"load_mock_page\('([^']+)'")
_STATES = re.compile(r"('(?:[^'\\]|\\.)*') (not )?in result")
_UTF8 = lxml_html.HTMLParser(encoding="utf-8")
_BLOCKS = frozenset((
    "address", "article", "aside", "blockquote", "br", "dd", "details", "div", "dl", "dt", "fieldset", "figcaption",
    "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p",
    "pre", "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul",
))  # fmt: skip


@dataclasses.dataclass(frozen=True)
class GoldPage:
    """One labelled page. Either `gold` is the text of its main content, or `present` and `absent` are segments."""

    set: str
    name: str
    site: str
    html: bytes
    gold: str | None = None
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()

    @property
    def split(self) -> str:
        """`dev` or `held_out`: half of the sites each, the same in every set."""
        digest = hashlib.sha256(f"{SPLIT_SEED}\n{self.site}".encode()).digest()
        return "dev" if digest[0] % 2 else "held_out"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "out", type=pathlib.Path, nargs="?", default=GOLD, help="folder for pages.jsonl and html/"
    )
    pages = gather(parser.parse_args().out)
    for name in dict.fromkeys(page.set for page in pages):
        ours = [page for page in pages if page.set == name]
        dev = sum(page.split == "dev" for page in ours)
        text = sum(page.gold is not None for page in ours)
        segments = [sum(len(segments) for segments in kind) for kind in (
            [page.present for page in ours], [page.absent for page in ours])]  # fmt: skip
        print(f"{name:12} {len(ours):4} pages: {dev} dev, {len(ours) - dev} held out; {text} with text,"
              f" {segments[0]} segments present, {segments[1]} absent")  # fmt: skip


def gather(out: pathlib.Path) -> list[GoldPage]:
    """Write the labelled pages to a folder."""
    with tempfile.TemporaryDirectory() as scratch:
        downloads = pathlib.Path(scratch)
        fetch(downloads)
        pages = [*newspaper(downloads), *trafilatura(downloads)]
    pages += manuals(sorted((SAMPLE / "web").glob("dev-*.warc.gz")))
    write(pages, out)
    return pages


def labelled_pages(folder: pathlib.Path) -> list[dict]:
    """Rows of the labelled pages in a folder, which are fetched if they are not there."""
    listing = folder / "pages.jsonl"
    if not listing.exists():
        gather(folder)
    return [json.loads(line) for line in listing.read_text("utf-8").splitlines()]


def fetch(folder: pathlib.Path) -> None:
    """Download the packages."""
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--no-binary",
        ":all:",
        "-d",
        str(folder),
    ]
    call([*pip, *SDISTS])


def call(command: list[str]) -> None:
    """Run a package manager, or end with what it was asked for."""
    try:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"{' '.join(command)}: {error}")


def write(pages: list[GoldPage], out: pathlib.Path) -> None:
    """`pages.jsonl`, one object a line, and the pages' bytes under `html/`."""
    (out / "html").mkdir(parents=True, exist_ok=True)
    with (out / "pages.jsonl").open("w", encoding="utf-8") as lines:
        for page in pages:
            path = f"html/{page.set}-{page.name}.html"
            (out / path).write_bytes(page.html)
            row = dataclasses.asdict(page) | {"html_path": path, "split": page.split}
            del row["html"]
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")


def newspaper(downloads: pathlib.Path) -> Iterator[GoldPage]:
    files = unpacked(downloads / "newspaper4k-0.9.6.tar.gz", "tests/data/")
    for path, label in sorted(files.items()):
        name = pathlib.PurePosixPath(path).stem
        page = files.get(f"tests/data/html/{name}.html")
        if path.startswith("tests/data/txt/") and page is not None:
            about = files.get(f"tests/data/metadata/{name}.json")
            url = json.loads(about).get("url") if about else None
            yield GoldPage("newspaper", name, site_of(url, name), page, label.decode())


def trafilatura(downloads: pathlib.Path) -> Iterator[GoldPage]:
    """What trafilatura's tests on real pages say is in a result and what is not.

    Assertions that are commented out count too: they are the labels that trafilatura did not meet.
    """
    files = unpacked(downloads / "trafilatura-1.0.0.tar.gz", "tests/")
    source = files["tests/realworld_tests.py"].decode()
    names = ast.literal_eval(
        source[source.index("{", source.index("MOCK_PAGES")) : source.index("\n}\n") + 2]
    )
    present: dict[str, list[str]] = {url: [] for url in names}
    absent: dict[str, list[str]] = {url: [] for url in names}
    url = None
    for line in source.splitlines():
        if loads := _LOADS.search(line):
            url = loads[1] if loads[1] in names else None
        elif url is not None:
            for literal, negation in _STATES.findall(line):
                segment = ast.literal_eval(literal)
                if re.search(r"\w", segment) and "<" not in segment:
                    (absent if negation else present)[url].append(segment)
    for url, name in names.items():
        page = files.get(f"tests/cache/{name}")
        if page is not None and present[url]:
            unique = [tuple(dict.fromkeys(segments[url])) for segments in (present, absent)]
            yield GoldPage("trafilatura", name.removesuffix(".html"), site_of(url, url), page, None, *unique)


def manuals(warcs: list[pathlib.Path]) -> Iterator[GoldPage]:
    """Pages of the sites in CONTENT, a few of each."""
    pages: dict[str, list[GoldPage]] = {site: [] for site in CONTENT}
    seen = set()
    for path in warcs:
        for record in read_warc(str(path)):
            site = registered_domain(record.url or "")
            if record.reason or site not in CONTENT or record.url in seen or _FORMULA.search(record.payload):
                continue
            seen.add(record.url)
            tree = lxml_html.document_fromstring(
                decode(record.payload, record.charset).encode(), parser=_UTF8
            )
            for node in tree.xpath(UNREAD):
                node.drop_tree()
            elements = tree.xpath(CONTENT[site])
            gold = text_of(elements[0], with_tail=False) if elements else ""
            if len(gold) >= WHOLE_LABEL:
                name = hashlib.sha256(str(record.url).encode()).hexdigest()[:12]
                pages[site].append(GoldPage("manuals", f"{site}-{name}", site, record.payload, gold))
    for found in pages.values():
        yield from sorted(found, key=lambda page: page.name)[:PAGES_A_SITE]


def unpacked(archive: pathlib.Path, folder: str) -> dict[str, bytes]:
    """The files below `folder` of a source archive, without its top folder."""
    files = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            path = member.name.partition("/")[2]
            if member.isfile() and path.startswith(folder):
                files[path] = tar.extractfile(member).read()  # type: ignore[union-attr]
    return files


def site_of(url: str | None, name: str) -> str:
    """Registered domain, or what stands for it in the name of a page without an address."""
    return (url and registered_domain(url)) or re.split(r"[-_.\d]", name)[0] or name


def text_of(tree: lxml_html.HtmlElement, with_tail: bool = True) -> str:
    """All text of an element, each block on its own line."""
    parts: list[str] = []

    def walk(node: lxml_html.HtmlElement) -> None:
        if isinstance(node.tag, str) and node.tag not in ("script", "style", "title"):
            block = node.tag in _BLOCKS
            parts.append("\n" if block else "")
            parts.append(node.text or "")
            for child in node:
                walk(child)
            parts.append("\n" if block else "")
        parts.append(node.tail or "")

    walk(tree)
    if not with_tail:
        parts.pop()
    return re.sub(r"\s*\n\s*", "\n", "".join(parts)).strip()


if __name__ == "__main__":
    main()
