"""The crawl of installed documentation, against the modules themselves and another WARC reader."""

import doctest
import html
import inspect
import os
import statistics
import subprocess
import sys

import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType
from hypothesis import given
from hypothesis import strategies as st

from corpus import docpages, docs_crawl, installed
from corpus.docpages import DocPage, Section
from corpus.docstrings import docstrings
from corpus.errors import LodeError

SMALL = ["installed:stdlib.statistics", "installed:mpmath.functions", "installed:numpy.linalg"]

NAMES = [f"a.f{i}" for i in range(12)]


def page(text: str, package: str = "numpy", markup: str = "rst", name: str = "a.f") -> DocPage:
    return DocPage(package, "1.0", name, "function", markup, (Section("", text),))


def test_docstrings_are_those_python_sees():
    with open(statistics.__file__, encoding="utf-8") as file:
        found = {doc.name: doc for doc in docstrings(file.read())}
    assert found[""].text == inspect.getdoc(statistics)
    for name in ("mean", "quantiles", "NormalDist", "linear_regression"):
        assert found[name].text == inspect.getdoc(getattr(statistics, name))
    overlap = next(m for m in found["NormalDist"].members if m.name == "overlap")
    assert overlap.text == inspect.getdoc(statistics.NormalDist.overlap)


def test_attached_docstrings_are_those_numpy_shows():
    import numpy as np

    found = {page.name: page.text for page in installed.documentation("installed:numpy._core._add_newdocs")}
    assert found["numpy.core.nested_iters"] == inspect.getdoc(np.nested_iters)
    assert found["numpy.core.multiarray.c_einsum"] in inspect.getdoc(np._core.multiarray.c_einsum)


def test_attached_docstrings_of_string_expressions():
    source = (
        'add_docstr(torch.mm, r"""mm(a, b)\n\nTimes :math:`{{x}}` {note}""".format(**kw) + "\\nEnd")\n'
        'add_newdoc("numpy", "ndarray", ("T", """The transpose."""))\nadd_docstr(torch.nn, text)\n'
        'add_newdoc("numpy", "_hidden", "no")\n'
    )
    found = {doc.name: doc.text for doc in docstrings(source)}
    assert found == {
        "torch.mm": "mm(a, b)\n\nTimes :math:`{x}` note\nEnd",
        "numpy.ndarray.T": "The transpose.",
    }


@given(st.text(max_size=200))
def test_any_source_has_docstrings_or_none(source):
    assert isinstance(docstrings(source), list)


def test_packages_are_found_without_importing_them():
    code = (
        "import sys, corpus.installed as i\n"
        "before = set(sys.modules)\n"
        "pages = list(i.documentation('installed:networkx.algorithms.flow'))\n"
        "assert len(pages) > 5 and len(i.packages()) > 20\n"
        "print({m.split('.')[0] for m in set(sys.modules) - before} & {'networkx', 'scipy', 'numpy'})\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_packages_are_sorted_and_leave_this_program_out():
    names = [package.name for package in installed.packages()]
    assert names == sorted(names)
    assert {"stdlib", "numpy", "sympy"} <= set(names)
    assert not {"corpus", "filters", "jobs"} & set(names)


@pytest.mark.parametrize(
    "spec", ["installed:nosuchpackage", "installed:numpy.nosuch", "installed:numpy...etc"]
)
def test_unknown_names_are_one_clear_sentence(spec):
    with pytest.raises(LodeError, match=r"no package|no module"):
        list(installed.documentation(spec))


# --- pages ------------------------------------------------------------------------------------------------


@given(st.sampled_from(docpages.MATH_STYLES), st.booleans(), st.text("abxyz\\{}^_<>&+=~ 1", min_size=1))
def test_a_formula_can_be_read_back_from_its_html(style, block, code):
    written = docpages.formula(code, block, style)
    read = html.unescape(written) if "<script" not in written else written
    assert code in read or "\\begin{split}" in read


def test_a_page_keeps_formulas_code_and_words():
    text = (
        "Compute it with :func:`~numpy.linalg.norm`.\n\n.. versionadded:: 1.8\n\n.. math::\n   :label: eq\n\n"
        "   a < \\frac{1}{b}\n\nParameters\n----------\nx : array_like\n    The input.\n\n"
        ".. plot::\n\n   plot(x)\n\n"
        "Examples\n--------\n>>> f(1) < 2\nTrue\n\n"
        ".. weird:directive:: with words\n   :unknown: option\n\n   kept words\n"
    )
    for name in NAMES:  # all ways to write a formula occur among these
        written, counts = docpages.render(page(text, name=name), [("other", "https://x.example/")])
        assert counts == {"formulas": 1, "plain_text": 0}
        assert "a &lt; \\frac{1}{b}" in written or "a < \\frac{1}{b}" in written
        for words in (
            "norm",
            "New in version 1.8",
            "The input.",
            "plot(x)",
            "&gt;&gt;&gt; f(1)",
            "kept words",
        ):
            assert words in written
        assert "system-message" not in written
    assert {docpages.math_style(page("", name=n).url) for n in NAMES} == set(docpages.MATH_STYLES)


def test_dollar_formulas_are_formulas_outside_code():
    text = "The sum $\\sum_i x_i$ of it.\n\n>>> print('$\\alpha$ $\\beta$')\n\nIt costs $5 or $6."
    written, counts = docpages.render(page(text), [])
    assert counts["formulas"] == 1
    assert "'$\\alpha$ $\\beta$'" in html.unescape(written) and "$5 or $6" in written


def test_markdown_pages():
    written, _ = docpages.render(
        page("# Title\n\n```python\nx < 1\n```\n\n<script>bad()</script>", markup="markdown"), []
    )
    assert "<h1>Title</h1>" in written and "x &lt; 1" in written and "<script>bad" not in written


@given(st.text(max_size=300))
def test_any_text_becomes_a_page(text):
    written, _ = docpages.render(page(text), [])
    assert written.endswith("</html>\n")


def test_a_page_does_not_depend_on_those_before_it():
    pages = [p for p in installed.documentation("installed:numpy.linalg") if p.kind == "function"]
    pages += list(installed.documentation("installed:scipy.special._basic"))[:40]
    forward = [docpages.render(p, [])[0] for p in pages]
    backward = [docpages.render(p, [])[0] for p in reversed(pages)]
    assert forward == backward[::-1]


# --- the crawl --------------------------------------------------------------------------------------------


def read_warc(path):
    return [
        (record.headers["WARC-Target-URI"], record.http_headers.status_code, record.reader.read(), ok)
        for record in ArchiveIterator(str(path), record_types=WarcRecordType.response)
        if [ok := record.verify_payload_digest()]
    ]


@pytest.fixture(scope="module")
def crawl(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crawl")
    return folder, docs_crawl.write_crawl(SMALL, str(folder), files=3, seed=7)


def test_another_reader_finds_what_was_counted(crawl):
    folder, counts = crawl
    records = [r for part in range(3) for r in read_warc(folder / docs_crawl.part_name(part))]
    assert len(records) == counts["records"] > 80
    assert all(ok for *_, ok in records)
    urls = [url for url, *_ in records]
    assert len(urls) == len(set(urls))
    pages = [url for url, status, body, _ in records if status == 200 and body.startswith(b"<!DOCTYPE")]
    assert len(pages) == counts["pages"] + counts.get("copies", 0) + counts.get("truncated", 0)
    assert counts["formulas"] > 50
    assert {url.split("/")[2] for url in urls} == {f"{p}-docs.example" for p in ("stdlib", "mpmath", "numpy")}


def test_no_page_tells_where_it_was_made(crawl):
    folder, _ = crawl
    local = [os.path.realpath(sys.prefix).encode(), os.path.expanduser("~").encode() + b"/"]
    for part in range(3):
        for _, _, body, _ in read_warc(folder / docs_crawl.part_name(part)):
            assert not any(path in body for path in local)


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_a_part_has_the_same_bytes_in_any_process(crawl, tmp_path, hash_seed):
    folder, _ = crawl
    target = str(tmp_path / "part.warc.gz")
    code = f"import corpus.docs_crawl as d; d.render_part({SMALL!r}, 1, 3, {target!r}, 7)"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    with open(target, "rb") as file:
        assert file.read() == (folder / docs_crawl.part_name(1)).read_bytes()


def test_the_cap_bounds_a_package():
    def count(cap):
        return sum(len(g) for g in installed.pages_of_part(["installed:sympy.functions"], 0, 1, 0, cap))

    assert 0 < count(10) <= 10 + installed.PAGES_PER_MODULE + 5 < count(10_000)


# --- evaluation items and source trees --------------------------------------------------------------------


def test_evaluation_items_are_the_doctests():
    items = installed.evaluation_items("installed:stdlib.statistics")
    wanted = {
        example.want.strip()
        for test in doctest.DocTestFinder().find(statistics)
        for example in test.examples
        if example.want.strip() and not example.want.startswith("Traceback")
    }
    assert {item["answer"] for item in items} <= wanted
    assert len(items) > 20 and len({item["id"] for item in items}) == len(items)
    assert all(">>> " in item["question"] for item in items)


def test_source_trees_are_many_small_and_readable():
    trees = installed.source_trees(max_bytes=2 << 20)
    names = [tree["name"] for tree in trees]
    assert len(trees) >= 20 and names == sorted(set(names))
    assert {"stdlib-asyncio", "stdlib-email", "stdlib-json"} <= set(names)
    for tree in trees:
        files, _ = installed.tree_files(tree["path"])
        sources = [place for name, place in files if name.endswith(".py") and "/test" not in name]
        assert len(sources) >= 1 and not any("__pycache__" in name for name, _ in files)
        assert files == sorted(files)
