"""What the child process of `parse` runs."""

import functools
from importlib import import_module
from types import ModuleType
from typing import Any

import tree_sitter

from corpus import trees
from repo_ordering.languages import MODULES


@functools.cache
def _reader(language: str) -> tuple[ModuleType, tree_sitter.Language] | None:
    """The module of a language and its grammar; None where it reads without a parse."""
    module = import_module(f"repo_ordering.languages.{MODULES[language]}")
    if not hasattr(module, "scan_tree"):
        return None
    return module, tree_sitter.Language(module.grammar(language))


def prepare() -> None:
    """A grammar that is not installed shows before the first file, not at each."""
    for language in MODULES:
        _reader(language)


def scan(language: str, text: str) -> Any:
    """Symbols of one file; raises `Failed` where its text is too hard to parse."""
    module, grammar = _reader(language)
    tree = trees.parse(grammar, text.encode("utf-8", "replace"))
    return module.scan_tree(trees.readable(tree.root_node))
