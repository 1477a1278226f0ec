"""Lists of domains, URLs and words that nobody wants pages of: adult sites, spam, malware.

Lists are files of the reader's own (see docs/quality.md for where to get some): one entry a line, UTF-8, `#` for a
comment; words also as a JSON list. In a folder the files called `domains` or `urls` count, as the blacklists of the
University of Toulouse lay them out, or all files where there are none. Millions of entries cost eight bytes each.
"""

import functools
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xxhash

from corpus import storage
from corpus.errors import LodeError
from corpus.urls import ascii_host, canonical_url, host_and_path

# A file of words named by one of these codes is for texts in that language, any other for all.
LANGUAGE_FILE = re.compile(r"[a-z]{2,3}(-[A-Za-z-]+)?")
# Languages written without spaces: an entry counts wherever it stands (as in C4's filter).
UNSPACED = frozenset(("ja", "th", "zh"))
WORD = re.compile(r"\w+")
# Longer paths are looked up by their first segments only.
MAX_SEGMENTS = 32
# What the domain name system allows; of anything longer the end is looked up.
MAX_HOST = 253


def list_files(paths: tuple[str, ...], name: str = "") -> list[str]:
    """The files of a list, sorted; of folders those called `name` where there are such.

    Raises LodeError naming a path with nothing behind it.
    """
    files: list[str] = []
    for path in paths:
        found = storage.expand([path])
        files += [file for file in found if os.path.basename(file) == name] or found
    return sorted(set(files))


@dataclass(frozen=True)
class Lists:
    """Paths of lists; a process reads them when it first asks."""

    domains: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    def resolved(self) -> "Lists":
        """The same with the path of each file, for processes elsewhere. Raises LodeError where one is missing."""
        return Lists(
            tuple(list_files(self.domains, "domains")),
            tuple(list_files(self.urls, "urls")),
            tuple(list_files(self.words)),
        )

    def verdict(self, url: str | None, text: str, language: str | None) -> tuple[str, str] | None:
        """(`blocked_domain`, `blocked_url` or `blocked_word`, the entry), or None."""
        if url and (self.domains or self.urls):
            host, path = host_and_path(canonical_url(url))
            if self.domains and (entry := _blocked_domain(_keys(self.domains, "domains"), host)):
                return "blocked_domain", entry
            if self.urls and (entry := _blocked_url(_keys(self.urls, "urls"), host, path, url)):
                return "blocked_url", entry
        if self.words and (entry := _words(self.words).find(text, language)):
            return "blocked_word", entry
        return None


class Keys:
    """A set of strings by their hashes: a false hit once in 10^12 look-ups of ten million entries."""

    def __init__(self, entries: Iterator[str]) -> None:
        self.hashes = np.unique(np.fromiter(map(_hash, entries), np.uint64))

    def __contains__(self, entry: str) -> bool:
        key = np.uint64(_hash(entry))
        at = int(self.hashes.searchsorted(key))
        return at < len(self.hashes) and bool(self.hashes[at] == key)


def _hash(entry: str) -> int:
    return xxhash.xxh3_64_intdigest(entry.encode("utf-8", "surrogatepass"))


def _entries(path: str) -> Iterator[str]:
    """Lines of a list. Raises LodeError where it cannot be read."""
    fs, inside = storage.filesystem(path)
    try:
        with fs.open(inside, "rb", compression="infer") as file:
            if re.search(r"\.json(\.\w+)?$", path):
                entries = json.load(file)
                if not isinstance(entries, list):
                    raise LodeError(f'{path}: a list of words in JSON was expected, such as ["one", "two"].')
                yield from map(str, entries)
                return
            for line in file:
                entry = line.decode("utf-8", "replace").strip().lstrip("\ufeff")
                if entry and not entry.startswith("#"):
                    yield entry
    except (OSError, ValueError) as error:
        raise LodeError(f"{path}: this list cannot be read ({error}).") from None


@functools.lru_cache(maxsize=8)
def _keys(paths: tuple[str, ...], kind: str) -> Keys:
    spelled = _as_domain if kind == "domains" else _as_url
    return Keys(spelled(entry) for path in list_files(paths, kind) for entry in _entries(path))


def _as_domain(entry: str) -> str:
    domain = entry.removeprefix("*").removeprefix(".")
    return domain.lower() if domain.isascii() else ascii_host(domain)


def _as_url(entry: str) -> str:
    host, path = host_and_path(canonical_url(entry if "://" in entry else f"http://{entry}"))
    query = entry.partition("?")[2].partition("#")[0]
    return _url_key(host, path) + (f"?{query}" if query else "")


def _url_key(host: str, path: str) -> str:
    return host.removeprefix("www.") + path.rstrip("/")


def _blocked_domain(keys: Keys, host: str) -> str | None:
    """The host or the first domain above it that is listed."""
    if len(host) > MAX_HOST:
        host = host[-MAX_HOST:].partition(".")[2]
    while host:
        if host in keys:
            return host
        host = host.partition(".")[2]
    return None


def _blocked_url(keys: Keys, host: str, path: str, url: str) -> str | None:
    """The page's address or the first part of it, up to a slash, that is listed."""
    query = url.partition("?")[2].partition("#")[0]
    whole = _url_key(host, path)
    if query and f"{whole}?{query}" in keys:
        return f"{whole}?{query}"
    key = host.removeprefix("www.")
    segments = path.strip("/").split("/")[:MAX_SEGMENTS]
    for segment in segments:
        key += f"/{segment}"
        if key in keys:
            return key
    return None


class Words:
    """Lists of words and phrases by language; an entry counts between characters that are part of no word."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        self.lists: dict[str | None, list[str]] = {}
        for path in list_files(paths):
            stem = os.path.basename(path).partition(".")[0]
            language = stem.partition("-")[0] if LANGUAGE_FILE.fullmatch(stem) else None
            entries = (entry.strip().lower() for entry in _entries(path))
            self.lists.setdefault(language, []).extend(filter(None, entries))
        self.spaced = {language: _PhraseIndex(entries) for language, entries in self.lists.items()}
        self.anywhere = {
            language: re.compile("|".join(map(re.escape, sorted(set(entries))))).search
            for language, entries in self.lists.items()
            if language in UNSPACED
        }

    def find(self, text: str, language: str | None) -> str | None:
        """The first entry of the lists for all languages, or for this one, that is in a text."""
        lowered = text.lower()
        if language in self.anywhere and (found := self.anywhere[language](lowered)):
            return found.group()
        for code in {None: None, language: None}:
            if code in self.spaced and code not in UNSPACED and (entry := self.spaced[code].find(lowered)):
                return entry
        return None


class _PhraseIndex:
    """Phrases by their first word, so that a text is only searched for those whose first word it has."""

    def __init__(self, phrases: list[str]) -> None:
        self.by_word: dict[str, list[str]] = {}
        for phrase in sorted(set(phrases)):
            first = WORD.search(phrase)
            self.by_word.setdefault(first.group() if first else "", []).append(phrase)

    def find(self, text: str) -> str | None:
        candidates = self.by_word.keys() & {"", *WORD.findall(text)}
        for phrase in sorted(phrase for word in candidates for phrase in self.by_word[word]):
            if phrase in text and re.search(rf"(?:\W|^){re.escape(phrase)}(?:\W|$)", text):
                return phrase
        return None


_words = functools.lru_cache(maxsize=8)(Words)
