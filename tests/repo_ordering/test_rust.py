"""Rust: module trees, re-exports and paths, as rustdoc links them."""

import time

from hypothesis import given
from hypothesis import strategies as st

from repo_ordering.graph import GraphBuilder, SourceFile, repository_graph


def edges(tree, guarded=False):
    files = [SourceFile(path, "Rust" if path.endswith(".rs") else None, text) for path, text in tree.items()]
    found = repository_graph(files).edges
    return {(e.source, e.target) for e in found if e.guarded is guarded and e.kind in ("import", "symbol")}


def test_modules_and_what_paths_end_in():
    tree = {
        "src/lib.rs": 'pub mod a; mod b;\n#[path = "odd.rs"] mod c;\n#[cfg(test)] mod tests;\n'
        "pub use a::deep::Deep;",
        "src/a/mod.rs": "pub mod deep; pub use self::deep::*;",
        "src/a/deep.rs": "pub struct Deep; pub fn make() {}",
        "src/b.rs": "use super::a::{Deep as D, deep}; fn f() -> D { deep::make(); vec![crate::c::X] }",
        "src/odd.rs": "pub struct X;",
        "src/tests.rs": "use crate::Deep;",
    }
    assert edges(tree) == {
        ("src/lib.rs", "src/a/mod.rs"), ("src/lib.rs", "src/b.rs"), ("src/lib.rs", "src/odd.rs"),
        ("src/lib.rs", "src/a/deep.rs"), ("src/a/mod.rs", "src/a/deep.rs"),
        ("src/b.rs", "src/a/mod.rs"),  # where the module `deep` is declared
        ("src/b.rs", "src/a/deep.rs"), ("src/b.rs", "src/odd.rs"), ("src/tests.rs", "src/a/deep.rs"),
    }  # fmt: skip
    assert edges(tree, guarded=True) == {("src/lib.rs", "src/tests.rs")}


def test_crates_of_a_workspace():
    tree = {
        "core/Cargo.toml": '[package]\nname = "my-core"\nversion = "1.0.0"\n',
        "core/src/lib.rs": "mod thing; pub use thing::Thing;\n#[macro_export] macro_rules! go { () => {} }",
        "core/src/thing.rs": "pub struct Thing; impl Thing { pub fn new() -> Self { Thing } }",
        "app/Cargo.toml": '[package]\nname = "app"\n[[bin]]\nname = "app"\npath = "run.rs"\n'
        '[dependencies]\nkernel = { package = "my-core", path = "../core" }\n',
        "app/run.rs": "mod part; extern crate kernel as k; fn main() { k::Thing::new(); }",
        "app/part.rs": "use kernel::Thing;",
        "app/tests/it.rs": "mod common; fn f() { ::my_core::Thing::new(); }",
        "app/tests/common/mod.rs": "pub fn help() {}",
    }
    assert edges(tree) == {
        ("core/src/lib.rs", "core/src/thing.rs"), ("app/run.rs", "app/part.rs"),
        ("app/run.rs", "core/src/thing.rs"), ("app/part.rs", "core/src/thing.rs"),
        ("app/tests/it.rs", "app/tests/common/mod.rs"), ("app/tests/it.rs", "core/src/thing.rs"),
    }  # fmt: skip


def test_names_in_two_name_spaces_methods_and_macros():
    tree = {
        "src/lib.rs": "#[macro_use] mod macros; mod copy; mod user; mod more;\npub use copy::copy;\n"
        "cfg_if! { if #[cfg(a)] { mod one; } else { mod two; } }\nwrap! { mod three; pub use three::Three; }",
        "src/macros.rs": "macro_rules! shout { () => { crate::user::Hidden } }",
        "src/copy.rs": "pub fn copy() {} pub struct Buf; impl Buf { pub fn own(&self) { self.spread() } }",
        "src/more.rs": "use crate::copy::Buf; impl Buf { fn spread(&self) {} }\ntrait Len { fn len(&self); }",
        "src/user.rs": "use crate::{copy, Three}; fn f(x: Vec<u8>) { copy(); shout!(); x.len(); }"
        '// crate::more::Len\nconst S: &str = "crate::more::Len"; struct Hidden;',
        "src/one.rs": "",
        "src/two.rs": "",
        "src/three.rs": "pub struct Three;",
    }
    unguarded = edges(tree)
    assert {edge for edge in unguarded if edge[0] != "src/lib.rs"} == {
        ("src/copy.rs", "src/more.rs"), ("src/more.rs", "src/copy.rs"), ("src/user.rs", "src/copy.rs"),
        ("src/user.rs", "src/three.rs"), ("src/user.rs", "src/macros.rs"),
    }  # fmt: skip
    assert ("src/lib.rs", "src/three.rs") in unguarded
    assert edges(tree, guarded=True) == {("src/lib.rs", "src/one.rs"), ("src/lib.rs", "src/two.rs")}


def test_edition_of_2015_inline_modules_and_names_made_by_macros():
    tree = {
        "src/lib.rs": "mod a; mod b; mod inner { pub mod leaf; pub struct In; }",
        "src/a.rs": "use b::Thing; use inner::{In, leaf::Leaf}; use b::parser::made;",
        "src/b.rs": "pub struct Thing; pub mod parser { make!(made); }",
        "src/inner/leaf.rs": "pub struct Leaf; fn f() { super::super::b::Thing; }",
    }
    assert edges(tree) == {
        ("src/lib.rs", "src/a.rs"), ("src/lib.rs", "src/b.rs"), ("src/lib.rs", "src/inner/leaf.rs"),
        ("src/a.rs", "src/b.rs"), ("src/a.rs", "src/lib.rs"), ("src/a.rs", "src/inner/leaf.rs"),
        ("src/inner/leaf.rs", "src/b.rs"),
    }  # fmt: skip


def test_a_file_that_is_not_read_is_still_a_module():
    builder = GraphBuilder()
    builder.add(SourceFile("src/lib.rs", "Rust", "mod gone; use gone::X;"))
    builder.add_absent("src/gone.rs", "Rust")
    assert {(e.source, e.target) for e in builder.graph().edges} == {("src/lib.rs", "src/gone.rs")}


def test_module_trees_built_to_explode():
    files = 60
    doubling = {
        f"src/m{i}.rs": "".join(f'#[path = "m{i + 1}.rs"] mod {name};' for name in "ab") for i in range(files)
    }
    doubling["src/lib.rs"] = '#[path = "m0.rs"] mod m;'
    assert len(edges(doubling)) == files
    ring = {f"src/m{i}.rs": f"pub use crate::m{(i + 1) % 9}::*; use self::X;" for i in range(9)}
    ring["src/lib.rs"] = "".join(f"mod m{i};" for i in range(9))
    assert ("src/lib.rs", "src/m1.rs") in edges(ring)
    count = 300
    chain = {
        f"src/m{i}.rs": f"pub use crate::m{(i + 1) % count}::*; fn f() {{ X::new(); }}" for i in range(count)
    }
    chain["src/lib.rs"] = "".join(f"mod m{i};" for i in range(count))
    started = time.monotonic()
    edges(chain)
    assert time.monotonic() - started < 20  # a bound against explosion


@given(st.permutations(["src/lib.rs", "src/a.rs", "src/b.rs", "src/b/c.rs"]))
def test_arrival_does_not_matter(order):
    tree = {
        "src/lib.rs": "mod a; mod b; pub use a::*; pub use b::*;",
        "src/a.rs": "pub struct X; pub use crate::b::Y;",
        "src/b.rs": "pub mod c; pub struct X; pub use c::Y;",
        "src/b/c.rs": "pub struct Y; fn f() { crate::X; crate::Y; }",
    }
    whole = repository_graph(SourceFile(path, "Rust", text) for path, text in tree.items())
    builder = GraphBuilder()
    for path in order:
        builder.add(SourceFile(path, "Rust", tree[path]))
    assert builder.graph() == whole
