"""One small module per language: what a file imports, declares and uses, and which files that means.

A module has one or both of
- `scan(text)`: what the file imports, found without a parse, in linear time, in this process. A module has it where
  imports name paths, so that the path alone of a file is enough to depend on it;
- `scan_tree(root)` with `grammar(language)`: what it declares, imports and refers to, read off its syntax tree in a
  child process (see `parse`).

Both give plain JSON values; together they are the file's `Facts`. Languages that see each other's names are one
family, and one module of the family has `resolve(facts, files)`: the edges of the files in `facts`. Where it tells,
its `names_used(path, facts, names_written(user))` gives names of the file at `path` that a file with the facts
`user` writes.
"""

# Linguist's name -> the module that reads the language.
MODULES = {
    "Python": "python",
    "C": "c",
    "C++": "c",
    "Objective-C": "c",
    "Objective-C++": "c",
    "Cuda": "c",
    "Java": "java",
    "Kotlin": "kotlin",
    "Scala": "scala",
    "Go": "go",
    "Rust": "rust",
    "JavaScript": "javascript",
    "TypeScript": "javascript",
    "TSX": "javascript",
    "Vue": "javascript_components",
    "Svelte": "javascript_components",
    "C#": "csharp",
    "PHP": "php",
    "Ruby": "ruby",
    "Swift": "swift",
}
# Module -> the module that resolves for it; itself where none is given.
FAMILIES: dict[str, str] = dict.fromkeys(("java", "kotlin", "scala"), "jvm") | {
    "javascript_components": "javascript"
}
# Files whose text, in whatever language, says what the repository's own packages are called, by name or ending.
MANIFESTS = {
    "go.mod",
    "Cargo.toml",
    "package.json",
    "compile_commands.json",
    "composer.json",
    "go.work",
    "Package.swift",
    "Directory.Build.props",
    "Directory.Build.targets",
    "tsconfig.json",
    "tsconfig.base.json",
    "jsconfig.json",
}
MANIFEST_ENDINGS = (".csproj",)


def is_manifest(path: str) -> bool:
    """Whether a file is one of `MANIFESTS` or has one of `MANIFEST_ENDINGS`."""
    return path.rpartition("/")[2] in MANIFESTS or path.endswith(MANIFEST_ENDINGS)
