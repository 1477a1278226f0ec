"""Files without the bodies of their functions, in every language that has them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repo_ordering.edges import SourceFile
from repo_ordering.skeletons import BODIES, fill, served, skeleton

BODY = "secret(1); " * 30
CODE = {
    "Python": f"class Kept(Base):\n    limit = 3\n\n    def shown(self, x: int) -> str:\n        {BODY}\n",
    "C": f"#include <a.h>\nstruct kept {{ int x; }};\nint shown(int x) {{ {BODY} }}\n",
    "C++": f"class Kept {{ void shown(int x) const {{ {BODY} }} }};\nint Kept::shown2() {{ {BODY} }}\n",
    "Cuda": f"__global__ void shown(int *x) {{ {BODY} }}\nint kept;\n",
    "Objective-C": f"int shown(int x) {{ {BODY} }}\nint kept;\n",
    "Objective-C++": f"int shown(int x) {{ {BODY} }}\nint kept;\n",
    "Java": f"class Kept {{ int x = 3; Kept() {{ {BODY} }} @Override int shown(int y) throws E {{ {BODY} }} }}\n",
    "C#": f"class Kept {{ int X {{ get {{ {BODY} return 1; }} }} int Shown(int y) {{ {BODY} }} int kept() => y; }}\n",
    "Go": f"package kept\ntype T struct {{ x int }}\nfunc (t *T) Shown(y int) error {{ {BODY} }}\n",
    "Rust": f"pub struct Kept {{ x: i32 }}\nimpl Kept {{ pub fn shown(&self) -> i32 {{ {BODY} }} }}\n",
    "JavaScript": f"export class Kept {{ shown(x) {{ {BODY} }} }}\nexport const other = async (y) => {{ {BODY} }};\n",
    "TypeScript": f"export interface Kept {{ x: number }}\nexport function shown(x: Kept): string {{ {BODY} }}\n",
    "TSX": f"export const Shown = (p: Props) => {{ {BODY} return <Kept/>; }};\nexport type Kept = 1;\n",
    "Ruby": f"class Kept < Base\n  LIMIT = 3\n  def shown(x, y: 1)\n    {BODY}\n  end\nend\n",
    "PHP": f"<?php\nclass Kept {{ public int $x; public function shown(int $y): string {{ {BODY} }} }}\n",
    "Kotlin": f"class Kept(val x: Int) {{\n  fun shown(y: Int): String {{ {BODY} }}\n}}\n",
    "Scala": f"class Kept(x: Int) {{\n  def shown(y: Int): String = {{ {BODY} }}\n}}\n",
    "Swift": f"class Kept {{\n  var x = 3\n  func shown(y: Int) -> String {{ {BODY} }}\n}}\n",
}


def test_every_language_has_its_example():
    assert set(CODE) == set(BODIES)


@pytest.mark.parametrize("language", sorted(CODE))
def test_signatures_stay_and_bodies_go(language):
    cut = skeleton(SourceFile("a", language, CODE[language]))
    assert "secret" not in cut and "..." in cut
    assert "shown" in cut.lower() and "kept" in cut.lower()


def test_what_has_no_bodies_or_cannot_be_parsed_has_no_skeleton():
    assert skeleton(SourceFile("a.h", "C", "int f(int);\n" * 9)) is None
    assert skeleton(SourceFile("a.md", "Markdown", "words " * 99)) is None
    assert (
        skeleton(SourceFile("a.py", "Python", "def f(): pass\n" + "x = 1\n" * 99)) is None
    )  # saves next to nothing
    assert skeleton(SourceFile("A.java", "Java", "a<" * 50_000)) is None


names = st.sampled_from("abcdefgh")


@given(
    st.permutations("abcdefgh"),
    st.integers(1, 7),
    st.sets(st.tuples(names, names), max_size=20),
    st.integers(0, 30),
)
def test_skeletons_fit_and_serve_only_what_stands_elsewhere(order, cut, edges, room):
    windows = [order[:cut], order[cut:]]
    sizes = {name: i + 1 for i, name in enumerate("abcdefgh")}
    budget = max(sum(sizes[name] for name in window) for window in windows) + room
    found = fill(windows, sizes, edges, budget, lambda name: (name.upper(), 3) if name != "a" else None)
    for window, taken in zip(windows, found, strict=True):
        assert sum(sizes[name] for name in window) + 3 * len(taken) <= budget
        for name, text in taken:
            assert text == name.upper() and name != "a" and name not in window
            assert any((source, name) in edges for source in window)
    assert 0.0 <= served(windows, found, edges) <= 1.0
