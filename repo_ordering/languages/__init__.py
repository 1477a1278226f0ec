"""One small module per language family: what a file imports, declares and uses, and which files that means.

A module has `LANGUAGES` (Linguist's names) and `resolve(facts, files)`. Facts come from `scan(text)` where a
scanner is enough, or from `scan_tree(root)` on the tree of `grammar()` where identifiers are needed; those
run in a child process (see `parse`). Facts are plain JSON values, so that they can cross the pipe. Where they
tell, `names_used(path, facts, names_written(user))` gives names of the file at `path` that a file with the facts
`user` writes.
"""

SCANNED = {
    "Python": "python",
    "C": "c",
    "C++": "c",
    "Objective-C": "c",
    "Objective-C++": "c",
    "Cuda": "c",
    "JavaScript": "javascript",
    "TypeScript": "javascript",
    "TSX": "javascript",
}
PARSED = {"Java": "java", "Go": "go", "Rust": "rust"}
# Files whose text, in whatever language, says what the repository's own packages are called.
MANIFESTS = {"go.mod", "Cargo.toml", "package.json"}
