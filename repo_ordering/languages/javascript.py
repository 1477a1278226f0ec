"""JavaScript and TypeScript: imports whose specifier is a literal string, and the names that go with them.

`import`, `export ... from`, `import x = require()`, `require()`, `require.resolve()`, AMD's `define([...])`, dynamic
and type-position `import()`, and triple-slash paths give edges of kind `import`. Names are looked through re-exports
to the file that declares them and give edges of kind `symbol`.
"""

import re
from collections.abc import Iterator, Mapping

from repo_ordering.edges import Edge, Facts, SourceFile
from repo_ordering.languages.javascript_links import Links
from repo_ordering.languages.javascript_modules import Modules, is_typescript
from repo_ordering.languages.javascript_text import blanked, documented

# The first character comes first: a search led by what stands before it would look at every one.
_IMPORT = re.compile(
    r"""[fir] (?<![\w$.][fir])
        (?: rom \s*+ | mport \s*+ | (?: mport | equire (?: \s*+ \. \s*+ resolve )? ) \s*+ \( \s*+ ) "(\d+)" """,
    re.VERBOSE,
)
_DEFINE = re.compile(
    r'[dr](?<![\w$.][dr])(?:efine|equire)\s*+\(\s*+(?:"\d+"\s*+,\s*+)?\[((?:\s*+"\d+"\s*+,?)*+)\s*+\]'
)
_NUMBER = re.compile(r'"(\d+)"')
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
MOST_NAMES = 1024


def scan(text: str) -> dict[str, list[str]]:
    """Specifiers of imports in the code and in JSDoc types, each once, in order.

    A triple-slash path counts as a relative specifier; types have a mark of their own, `javascript_text.TYPES`.
    """
    comments: list[str] = []
    code, strings, references = blanked(text, comments)
    numbers = _IMPORT.findall(code)
    for listed in _DEFINE.findall(code):
        numbers += _NUMBER.findall(listed)
    specifiers = references + [_ESCAPE.sub(r"\1", strings[int(number)]) for number in numbers]
    types = [specifier for comment in comments for specifier, _ in documented(comment)]
    return {"code": list(dict.fromkeys(specifiers)), "types": list(dict.fromkeys(types))}


def grammar(language: str) -> object:
    """The tree-sitter grammar, imported only where it is used: in the child process."""
    if language == "JavaScript":
        import tree_sitter_javascript

        return tree_sitter_javascript.language()
    import tree_sitter_typescript

    return (
        tree_sitter_typescript.language_tsx()
        if language == "TSX"
        else tree_sitter_typescript.language_typescript()
    )


def scan_tree(root) -> dict[str, list]:
    """What the module imports, exports and writes of its imports; see `javascript_names.read`."""
    from repo_ordering.languages import javascript_names

    return javascript_names.read(root)


def resolve(facts: Mapping[str, Facts], files: Mapping[str, SourceFile]) -> Iterator[Edge]:
    """Edges of the files in `facts`, given every file of the repository."""
    modules = Modules(files)
    for path in sorted(facts):
        found = facts[path].imports or {"code": [], "types": []}
        symbols = facts[path].symbols or {"imports": [], "reexports": []}
        # The tree knows statements that text of JSX hid from the scanner.
        stated = [entry[0] for kind in ("imports", "reexports") for entry in symbols[kind]]
        # TypeScript reads types in comments of JavaScript alone, and a declaration file before what it declares.
        types = [] if is_typescript(path) else found["types"]
        for specifier in dict.fromkeys(found["code"] + stated + types):
            target = modules.find(path, specifier, is_typed=True)
            if target is not None:
                yield Edge(path, target)
    yield from Links({path: facts[path].symbols for path in sorted(facts)}, modules).edges()


def names_written(facts: Facts) -> list[str]:
    """Names that a file imports, and members of them that it uses."""
    symbols = facts.symbols or {}
    names = {name for _, name, _ in symbols.get("imports", ())} | {
        name for _, name in symbols.get("members", ())
    }
    return sorted(names - {"*", "=", "default"})[:MOST_NAMES]


def names_used(path: str, facts: Facts, written: list[str]) -> list[str]:
    """Those names that the module at `path` exports."""
    exported = {name for name, _ in (facts.symbols or {}).get("exports", ())}
    return [name for name in written if name in exported]
