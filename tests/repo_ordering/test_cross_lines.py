"""Lines that need another file, in a repository made by hand and in real ones."""

import tarfile

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.languages import kind_of, language_of
from repo_ordering.cross_lines import cross_lines, declares
from repo_ordering.document import OrderRepositories
from repo_ordering.rows import FILE_ROW

SHAPES = """# shop/shapes.py
class Circle:
    def outline(self, width):
        return width * RATIO

    def fill_with(self, colour):
        return colour

def scaled(shape):
    return shape

RATIO = 3
"""
COLOURS = """# shop/colours.py
def blend(one, other):
    return one

def outline(thing):
    return thing
"""
MAIN = """# shop/main.py
from shop.shapes import Circle, scaled
import shop.shapes

# fill_with is in a comment here
def draw(scale):
    circle = Circle()
    circle.outline(2)
    small = scaled(circle)
    red = mix.blend(1, 2)
    again = mix.blend(3, 4)
    width = shapes.RATIO * 2
    return circle.fill_with(red)
"""
NAMES = ["shop/shapes.py", "shop/colours.py", "shop/main.py"]
TEXT = SHAPES + COLOURS + MAIN
ENDS = [len(SHAPES), len(SHAPES + COLOURS), len(TEXT)]
FILES = list(zip(NAMES, [0, *ENDS[:-1]], ENDS, strict=True))
ALL = {("shop/main.py", "shop/shapes.py"), ("shop/main.py", "shop/colours.py")}


def lines(edges, text=TEXT, files=FILES):
    return [
        (line.path, line.name, line.declared_in, text[line.start : line.end].strip())
        for line in cross_lines(text, files, edges)
    ]


def test_a_repository_by_hand():
    # Circle and scaled were read in the import, fill_with in the comment, outline is declared by both files.
    assert lines(ALL) == [
        ("shop/main.py", "blend", "shop/colours.py", "red = mix.blend(1, 2)"),
        ("shop/main.py", "RATIO", "shop/shapes.py", "width = shapes.RATIO * 2"),
    ]
    assert lines({("shop/main.py", "shop/shapes.py")}) == [
        ("shop/main.py", "outline", "shop/shapes.py", "circle.outline(2)"),
        ("shop/main.py", "RATIO", "shop/shapes.py", "width = shapes.RATIO * 2"),
    ]


def test_where_a_name_is_declared():
    found = {line.name: line.declared_at for line in cross_lines(TEXT, FILES, ALL)}
    assert TEXT[found["blend"] :].startswith("def blend") and TEXT[found["RATIO"] :].startswith("RATIO = 3")


def test_what_stands_later_or_is_no_dependency_does_not_count():
    assert lines(set()) == []
    assert (
        lines({("shop/shapes.py", "shop/main.py"), ("shop/main.py", "gone.py"), ("gone.py", "shop/main.py")})
        == []
    )


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("def shade(x):", "shade"),
        ("    async def fetch_all(self):", "fetch_all"),
        ("class Painter(Base):", "Painter"),
        ("export const makeStore = (x) => x", "makeStore"),
        ("export default class Store {", "Store"),
        ("func (s *Server) Listen(port int) error {", "Listen"),
        ("pub(crate) fn parse_word(x: &str) -> Word {", "parse_word"),
        ("pub struct Word {", "Word"),
        ("static int count_words(const char *text)", "count_words"),
        ("#define MAX_WORDS 12", "MAX_WORDS"),
        ("    public static List<String> splitWords(String text) {", "splitWords"),
        ("DEFAULT_WIDTH: int = 80", "DEFAULT_WIDTH"),
        ("interface Shelf {", "Shelf"),
        ("  def self.from_words(words)", "from_words"),
    ],
)
def test_forms_of_declarations(line, name):
    assert declares(line) == {name: 0}


@pytest.mark.parametrize(
    "line",
    ["return compute(x)", "    call(this)", "int count_words(const char *text);", "# def shade(x):", "x == value",
     "", "def f(x):", "const data = 1".ljust(500, "x")],
)  # fmt: skip
def test_what_declares_nothing(line):
    assert declares(line) == {}


@given(st.lists(st.text(max_size=80), min_size=1, max_size=5), st.randoms())
def test_any_text_is_read(parts, random):
    names = [f"f{i}" for i in range(len(parts))]
    ends = [sum(map(len, parts[: i + 1])) for i in range(len(parts))]
    files = list(zip(names, [0, *ends[:-1]], ends, strict=True))
    edges = {(random.choice(names), random.choice(names)) for _ in range(6)}
    text = "".join(parts)
    for line in cross_lines(text, files, edges):
        _, start, end = files[names.index(line.path)]
        assert start < line.start < line.end <= end and "\n" not in text[line.start : line.end]
        assert line.name in text[line.start : line.end] and (line.path, line.declared_in) in edges


@pytest.mark.parametrize("name", ["requests-2.32.3", "okio-1.16.0", "guzzlehttp-psr7-2.4.5", "axios-1.7.2"])
def test_real_repositories(shared_data, name):
    """Each line names what its dependency declares, for the first time in the file: counted the slow way."""
    rows = []
    with tarfile.open(shared_data / "repos" / f"{name}.tar.gz") as archive:
        for member in archive:
            if member.isfile():
                text = archive.extractfile(member).read().decode("utf-8", "replace")
                language = language_of(member.name, text)
                if language and kind_of(language) == "programming":
                    row = {
                        "id": member.name,
                        "text": text,
                        "source": "s",
                        "repository": name,
                        "path": member.name,
                    }
                    rows.append(row | {"language": language})
    batch = pa.RecordBatch.from_pylist(rows, FILE_ROW)
    row = next(
        row for out in OrderRepositories()(iter([batch])) for row in out.to_pylist() if not row["reason"]
    )
    text, spans = row["text"], {file["path"]: (file["start"], file["end"]) for file in row["files"]}
    edges = {(edge["source"], edge["target"]) for edge in row["dependencies"]}
    found = cross_lines(text, [(path, *span) for path, span in spans.items()], edges)
    assert len(found) > 50
    for line in found:
        start, _ = spans[line.path]
        other = text[slice(*spans[line.declared_in])]
        assert line.name in text[line.declared_at :].split("\n")[0]
        assert line.name in declares(other) and spans[line.declared_in][1] <= start
        assert line.name in text[line.start : line.end]
        words = text[start : line.start].replace("$", " ").split()
        assert line.name not in words
