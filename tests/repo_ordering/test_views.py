"""What `lode graph` and `lode order` print and draw."""

import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import LodeError
from repo_ordering.document import OrderRepositories
from repo_ordering.edges import Edge, Graph, SourceFile
from repo_ordering.picture import MOST_POINTS, graph_svg
from repo_ordering.views import files_of_path, graph_listing, graph_of_path, order_listing, order_of_files

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.py").write_text("import p.b\n")
    (tmp_path / "p" / "b.py").write_text("x = 1\n")
    (tmp_path / "z.md").write_text("words\n")
    return str(tmp_path)


def test_the_tree_of_a_graph(repository):
    graph = graph_of_path(repository)
    assert graph.pairs() == [("p/a.py", "p/b.py")]
    assert graph_listing(graph).split("\n") == [
        "├─ p/",
        "│  ├─ a.py",
        "│  │     → p/b.py  import, symbol",
        "│  └─ b.py",
        "└─ z.md",
        "3 files (2 depend on none here), 1 dependencies",
    ]


def test_what_makes_an_edge_less_than_certain_is_said():
    edges = (Edge("a", "b", "import", True, 0.9), Edge("a", "b", "symbol"))
    listing = graph_listing(Graph(("a", "b"), edges, {"b": "parse_too_hard"}))
    assert "→ b  import guarded 0.9, symbol\n" in listing and listing.endswith(
        "not parsed: b: parse_too_hard"
    )


def test_a_tree_of_any_depth():
    path = "d/" * 5000 + "f"
    assert graph_listing(Graph((path,), ())).count("└─ d/") == 5000


def test_the_order_of_one_repository(repository):
    view = order_of_files(
        files_of_path(repository), OrderRepositories("clustered", samples="window", window=1000)
    )
    assert [[part["path"] for part in sample] for sample in view["samples"]] == [["p/b.py", "p/a.py", "z.md"]]
    assert view["edges_in_sample"] == 1.0
    assert "100.0% of 1 dependencies" in order_listing(view)
    with pytest.raises(LodeError, match="absent"):
        files_of_path(f"{repository}/absent")


def test_a_picture_shows_every_file_with_dependencies(repository):
    root = ElementTree.fromstring(graph_svg(graph_of_path(repository), "name"))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert {"a.py", "b.py"} <= set(texts) and "z.md" not in texts
    (edge,) = [element for element in root.iter(f"{SVG}path") if element.get("class") == "edge"]
    assert edge.find(f"{SVG}title").text == "p/a.py → p/b.py: import, symbol"


def test_a_picture_of_many_files_shows_their_folders():
    paths = [f"d{i % 40}/f{i}.py" for i in range(2000)]
    edges = tuple(Edge(paths[i], paths[i * 7 % 2000]) for i in range(1, 2000))
    root = ElementTree.fromstring(graph_svg(Graph(tuple(sorted(paths)), edges), "many"))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert "d1/" in texts and len(texts) < MOST_POINTS
    assert any("1999 files are drawn as their folders" in text for text in texts)


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
paths = st.lists(names.map(lambda name: name.replace("/", "_")), min_size=1, max_size=4).map("/".join)


@given(st.lists(paths, min_size=2, max_size=8, unique=True), names, st.data())
def test_a_picture_is_xml_without_markup_from_names(files, name, data):
    pairs = st.tuples(st.sampled_from(files), st.sampled_from(files), st.sampled_from(["import", "cross"]))
    edges = tuple(Edge(*pair) for pair in data.draw(st.lists(pairs, max_size=9)) if pair[0] != pair[1])
    picture = graph_svg(Graph(tuple(sorted(files)), edges), name)
    root = ElementTree.fromstring(picture)
    assert {element.tag for element in root.iter()} <= {
        SVG + tag for tag in ("svg", "style", "text", "g", "path", "title", "tspan")
    }
    assert not re.search(r"[\u202a-\u202e\u2066-\u2069]", picture)


def test_hostile_names_stay_text():
    path = "<script>alert(1)</script>.py"
    picture = graph_svg(Graph((path, "b"), (Edge(path, "b"),)), '"><img src=x onerror=alert(1)>')
    assert "<script" not in picture and "<img" not in picture


def test_files_of_one_name_twice_do_not_matter():
    files = [SourceFile("a.py", "Python", "import b\n"), SourceFile("b.py", "Python", "")]
    assert order_of_files(files[::-1], OrderRepositories()) == order_of_files(files, OrderRepositories())
