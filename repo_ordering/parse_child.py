"""What the child process of `parse` runs."""

import functools
from importlib import import_module
from types import ModuleType
from typing import Any

import tree_sitter

from corpus import trees
from repo_ordering.languages import PARSED


@functools.cache
def _grammar(language: str) -> tuple[ModuleType, tree_sitter.Language]:
    module = import_module(f"repo_ordering.languages.{PARSED[language]}")
    return module, tree_sitter.Language(module.grammar())


def prepare() -> None:
    """A grammar that is not installed shows before the first file, not at each."""
    for language in PARSED:
        _grammar(language)


def scan(language: str, text: str) -> Any:
    """Facts of one file; raises `Failed` where its text is too hard to parse."""
    module, grammar = _grammar(language)
    return module.scan_tree(trees.parse(grammar, text.encode("utf-8", "replace")).root_node)
