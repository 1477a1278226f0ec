r"""Decontamination: planted overlaps found, false alarms on clean text, true overlaps of a real crawl, and speed.

    python -m benchmarks.contamination [--benchmarks DIR] [--overlaps CSV] [--plants 10000] [--paragraphs 1000000]
                                       [--peer PYTHON]

Planted: a text of an evaluation set (any set, any field), or some ten words of it, is changed as pages change it
(case, line breaks also inside formulas, spaces of TeX, delimiters, escapes, forms of characters) and put somewhere
into a page that holds nothing of any set. Found means: that very text of that very item, at that place. What counts as
ten words for the plants is a regular expression of this file.

False alarms: paragraphs of the sample crawl (without the pages that CSV lists), of the documentation and, up to the
number asked for, of the sources of the packages installed here, each judged by itself.

Overlaps: every row of CSV, a list of pages of the crawl that share ten words with an item. A row whose words the
extracted text does not have (a regular expression over it says so) is counted apart.

Speed: one core, pages of the crawl, those of them that are full of formulas (a backslash in every hundred characters)
and sources of installed packages, from Arrow batch to verdicts.

PYTHON is an interpreter with datatrove (`pip install 'datatrove[processing]==0.10.1' spacy orjson`), which is given
the same texts for its index, 10-grams like ours, and the same pages.
"""

import argparse
import csv
import itertools
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import xxhash

from benchmarks.record import SAMPLE, record
from corpus import installed
from corpus.contamination import BenchmarkIndex
from corpus.evaluation_sets import EvaluationText, read_evaluation_sets
from corpus.extract import extract_pages

UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
FORMULA = re.compile(r"\$[^$]*\$")
SPACING = re.compile(r"\\(?:left|right|quad|qquad|displaystyle|(?:begin|end)\{[a-z]+\*?\})(?![a-z])")
BATCH = 256
PEER = r"""
import json, sys, time
import numpy as np
from datatrove.data import Document
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter, NGramsDecontIndexer
config = NGramsDecontConfig(n_grams=10)
folder, texts, pages = sys.argv[1:]
indexer = object.__new__(NGramsDecontIndexer)  # past the check for lighteval, which only reads tasks from the hub
indexer.__init__(folder, config=config)
began = time.process_time()
hashes = {hash for text in json.load(open(texts)) for hash in indexer.compute_hashes(text)}
np.array(list(hashes), dtype=config.hash_config.np_descr).tofile(folder + "/sets.index.hashes")
built = time.process_time() - began
check = NGramsDecontFilter(folder, config=config)
check.filter(Document(text="a text that loads the index", id=""))
began = time.process_time()
documents = [Document(text=text, id="") for text in json.load(open(pages))]
for document in documents:
    check.filter(document)
seconds = time.process_time() - began
found = [document.metadata.get("contaminated_ngram") for document in documents]
print(json.dumps({"build": built, "seconds": seconds, "found": found}))
"""


# --- how pages change a text ------------------------------------------------------------------------------


def in_formulas(change: Callable[[str], str]) -> Callable[[str, random.Random], str]:
    """A change of what stands between dollars; of the whole where nothing does."""
    return lambda text, _: FORMULA.sub(lambda m: change(m[0]), text) if FORMULA.search(text) else change(text)


def between_words(*joints: str) -> Callable[[str, random.Random], str]:
    """White space becomes one of `joints`, at random."""
    return lambda text, draw: re.sub(r"\s+", lambda _: draw.choice(joints), text)


def spread(text: str, draw: random.Random) -> str:
    """Spaces and line breaks around everything that is no word, also inside formulas, and between Han characters."""
    text = re.sub(
        r"(?<![\\\w&#])([-+=<>(){}^,/*])", lambda m: draw.choice((" ", "\n", "\n  ")) + m[1] + " ", text
    )
    return re.sub(rf"(?<=[{UNSPACED}])(?=[{UNSPACED}])", lambda _: draw.choice(("", " ", "\n")), text)


def fullwidth(text: str, draw: random.Random) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if c.isalnum() and "!" <= c <= "~" else c for c in text)


CHANGES: dict[str, Callable[[str, random.Random], str]] = {
    "as typed": lambda text, _: text,
    "upper case": lambda text, _: text.upper(),
    "lower case": lambda text, _: text.lower(),
    "title case": lambda text, _: text.title(),
    "line breaks": between_words("\n", "\n\n", "\r\n", " \n   "),
    "spaces": between_words("  ", "\t", "\u00a0", "\u2003", "\u3000", " "),
    "spread": spread,
    "TeX spaces": in_formulas(lambda t: re.sub(r"([-+=<>,])", r" \\, \1 \\; ", t).replace(" ", "\\ ")),
    "TeX quads": in_formulas(lambda t: re.sub(r"([=<>,])", r" \\quad \1 \\qquad ", t)),
    "TeX ties": in_formulas(lambda t: re.sub(r"(?<=[\w}]) (?=[\w{])", "~", t)),
    "left and right": in_formulas(
        lambda t: re.sub(r"(?<!\\)\(", r" \\left( ", re.sub(r"(?<!\\)\)", r" \\right) ", t))
    ),
    "big and style": in_formulas(lambda t: re.sub(r"(?<!\\)([(\[])", r" \\displaystyle \\big\1", t)),
    "hspace": in_formulas(lambda t: re.sub(r"([=+])", r" \1 \\hspace{0.5cm} ", t)),
    "displayed": lambda text, _: text.replace("$", "\n$$\n"),
    "delimiters": lambda text, _: FORMULA.sub(lambda m: f"\\( {m[0][1:-1]} \\)", text),
    "equation": lambda text, _: FORMULA.sub(
        lambda m: f"\\begin{{equation*}}{m[0][1:-1]}\\end{{equation*}}", text
    ),
    "braces": lambda text, _: re.sub(r"([\^_])(\w)(?!\w)", r"\1{\2}", text),
    "numbers apart": lambda text, _: re.sub(r"(?<=\d)(?=[A-Za-z])", "\\,", text),
    "Markdown": lambda text, _: re.sub(r"([_*#])", r"\\\1", text),
    "emphasis": lambda text, draw: WORD.sub(lambda m: f"**{m[0]}**" if draw.random() < 0.2 else m[0], text),
    "quoted": lambda text, _: "> " + text.replace("\n", "\n> "),
    "HTML": lambda text, _: (
        text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("'", "&#39;")
    ),
    "typographic": lambda text, _: text.replace("'", "\u2019").replace('"', "\u201c").replace("-", "\u2212"),
    "NFD": lambda text, _: unicodedata.normalize("NFD", text),
    "full width": fullwidth,
    "soft hyphens": lambda text, _: re.sub(r"([a-z]{3})(?=[a-z]{3})", "\\1\u00ad", text),
    "calculator marks": lambda text, _: re.sub(r"<<[^<>\n]*>>", "", text),
}
PLACES = ("start", "middle", "end", "alone", "list item", "table cell", "far into a long page")


def planted(
    texts: list[EvaluationText], index: BenchmarkIndex, pages: list[str], count: int
) -> dict[str, Any]:
    """How many of `count` plants are found, by what was planted, how it was changed and where it was put."""
    draw = random.Random(0)
    usable = set(index.entries)
    texts = [text for text in texts if text[:3] in usable]
    hosts = [
        page for page, found in zip(pages, index.find(pages), strict=True) if len(page) > 2000 and not found
    ]
    by_field: dict[tuple[str, str], list[EvaluationText]] = {}
    for text in texts:
        by_field.setdefault((text.benchmark, text.field), []).append(text)
    tried: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    examples = []
    for number in range(count):
        text = draw.choice(by_field[draw.choice(sorted(by_field))])
        change = list(CHANGES)[number % len(CHANGES)]
        place = PLACES[number // len(CHANGES) % len(PLACES)]
        whole = draw.choice(text.variants)
        cut = whole if draw.random() < 0.5 or change == "calculator marks" else some_words(whole, draw)
        changed = CHANGES[change](cut, draw)
        page, start, end = put(changed, place, hosts, draw)
        (found,) = index.find([page])
        # One text may stand in several items, so any entry with these words will do at this place.
        at = [f for f in found if f.start < end and f.end > start and index.entries[f.entry] == text[:3]]
        kinds = (f"set {text.benchmark}", f"field {text.field}", f"change {change}", f"place {place}",
                 "whole" if cut is whole else "ten words")  # fmt: skip
        tried.update(kinds)
        if not at:
            missed.update(kinds)
            examples.append(
                {
                    "item": text.item,
                    "field": text.field,
                    "change": change,
                    "place": place,
                    "text": changed[:300],
                }
            )
    return {
        "plants": count,
        "found": count - len(examples),
        "tried": dict(sorted(tried.items())),
        "missed": dict(sorted(missed.items())),
        "examples": examples[:20],
    }


def some_words(text: str, draw: random.Random) -> str:
    """Ten to fourteen words that follow one another; all where there are no more. TeX's spaces are no words."""
    spans = [match.span() for match in WORD.finditer(SPACING.sub(lambda m: " " * len(m[0]), text))]
    if len(spans) <= 10:
        return text
    length = min(draw.choice((10, 10, 11, 14)), len(spans))
    first = draw.randrange(len(spans) - length + 1)
    return text[spans[first][0] : spans[first + length - 1][1]]


def put(text: str, place: str, hosts: list[str], draw: random.Random) -> tuple[str, int, int]:
    """A page with the text in it, and where it is, in NFC."""
    host = unicodedata.normalize("NFC", draw.choice(hosts))
    if place == "far into a long page":
        host = "\n\n".join(host for _ in range(1 + 300_000 // len(host)))
    # Between paragraphs: words of the host that run on into the plant's are the host's matter.
    breaks = [match.start() for match in re.finditer(r"\n\n", host)] or [len(host)]
    at = {"start": 0, "end": len(host), "alone": 0}.get(place, draw.choice(breaks[len(breaks) // 3 :]))
    before, after = ("", "") if place == "alone" else (host[:at], host[at:])
    if place == "list item":
        text = "- " + text.replace("\n", "\n  ")
    if place == "table cell":
        text = f"| 1. | {text} | yes |"
    before = unicodedata.normalize("NFC", before + "\n\n")
    text = unicodedata.normalize("NFC", text)
    return before + text + "\n\n" + after, len(before), len(before) + len(text)


# --- clean text -------------------------------------------------------------------------------------------


def paragraphs(pages: list[str], most: int) -> Iterator[tuple[str, str]]:
    """(kind, paragraph): distinct blocks between blank lines of some length."""
    seen: set[int] = set()

    def pieces(kind: str, text: str) -> Iterator[tuple[str, str]]:
        for piece in re.split(r"\n\s*\n", text):
            key = xxhash.xxh3_64_intdigest(piece.encode("utf-8", "replace"))
            if len(piece) >= 40 and key not in seen and len(seen) < most:
                seen.add(key)
                yield kind, piece

    for page in pages:
        yield from pieces("crawl", page)
    for page in installed.documentation("installed:*"):
        for section in page.sections:
            yield from pieces("documentation", section.text)
    for text in sources():
        yield from pieces("source code", text)


def sources() -> Iterator[str]:
    """Python files of the installed packages and the standard library."""
    for package in installed.packages():
        for name, path in installed.tree_files(installed.PREFIX + package.name)[0]:
            if name.endswith((".py", ".pyi")) and os.path.isfile(path):
                yield pathlib.Path(path).read_text(encoding="utf-8", errors="replace")


def false_alarms(index: BenchmarkIndex, pages: list[str], most: int) -> dict[str, Any]:
    judged: Counter[str] = Counter()
    alarms: Counter[str] = Counter()
    causes: Counter[str] = Counter()
    held: list[tuple[str, str]] = []

    def judge() -> None:
        for (kind, text), found in zip(held, index.find([text for _, text in held]), strict=True):
            judged[kind] += 1
            if found:
                alarms[kind] += 1
                text = unicodedata.normalize("NFC", text)
                causes[" ".join(re.findall(r"[^\W_]+", text[found[0].start : found[0].end].lower()))] += 1
        held.clear()

    for paragraph in paragraphs(pages, most):
        held.append(paragraph)
        if len(held) == 2048:
            judge()
    judge()
    return {
        "paragraphs": dict(judged),
        "false alarms": dict(alarms),
        "in a million": round(1e6 * alarms.total() / judged.total(), 1),
        "commonest causes": dict(causes.most_common(25)),
        "different causes": len(causes),
    }


# --- true overlaps, speed, peer ---------------------------------------------------------------------------


def overlaps(index: BenchmarkIndex, pages: list[tuple[str, str]], path: pathlib.Path) -> dict[str, Any]:
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    texts: dict[str, str] = {}
    for url, text in pages:
        texts[url] = texts.get(url, "") + "\n\n" + text
    listed = sorted({row["url"] for row in rows if row["url"] in texts})
    found = {
        url: {index.entries[f.entry] for f in all_found}
        for url, all_found in zip(listed, index.find([texts[url] for url in listed]), strict=True)
    }
    count: Counter[str] = Counter()
    missed = []
    for row in rows:
        words = row["example_ngram"].split()
        text = " ".join(WORD.findall(texts.get(row["url"], "").lower()))
        if (row["benchmark"], row["item"], row["field"]) in found.get(row["url"], ()):
            count["found"] += 1
        elif f" {' '.join(words)} " not in f" {text} ":
            count["not in the extracted text"] += 1
            count[f"not in the extracted text: {row['example_ngram']}"] += 1
        else:
            missed.append(row)
    return {"listed": len(rows), **dict(count.most_common(12)), "missed": missed}


def speed(index: BenchmarkIndex, texts: list[str]) -> dict[str, Any]:
    """Megabytes of UTF-8 a second on one core, best of three."""
    batches = [
        pa.RecordBatch.from_pydict({"id": [str(i) for i in range(at, at + len(part))], "text": part})
        for at in range(0, len(texts), BATCH)
        for part in [texts[at : at + BATCH]]
    ]
    size = sum(len(text.encode("utf-8", "replace")) for text in texts)
    seconds = []
    for _ in range(3):
        began = time.process_time()
        for batch in batches:
            index.judge(batch)
        seconds.append(time.process_time() - began)
    return {
        "documents": len(texts),
        "megabytes": round(size / 1e6, 1),
        "MB/s": round(size / 1e6 / min(seconds), 1),
    }


def beside_datatrove(
    python: str, texts: list[EvaluationText], index: BenchmarkIndex, pages: list[str]
) -> dict[str, Any]:
    """Speed and findings of datatrove's n-gram filter, which knows no shorter texts and stops at the first match."""
    size = sum(len(page.encode("utf-8", "replace")) for page in pages) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        for name, value in (("texts", [v for t in texts for v in t.variants[:1]]), ("pages", pages)):
            pathlib.Path(folder, f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
        script = pathlib.Path(folder, "peer.py")
        script.write_text(PEER, encoding="utf-8")
        arguments = [f"{folder}/index", f"{folder}/texts.json", f"{folder}/pages.json"]
        os.mkdir(arguments[0])
        done = subprocess.run([python, str(script), *arguments], capture_output=True, text=True, check=True)
    theirs = json.loads(done.stdout.strip().splitlines()[-1])
    began = time.process_time()
    BenchmarkIndex.build(texts)
    built = time.process_time() - began
    began = time.process_time()
    ours = [bool(found) for at in range(0, len(pages), BATCH) for found in index.find(pages[at : at + BATCH])]
    seconds = time.process_time() - began
    both = Counter(zip(ours, map(bool, theirs["found"]), strict=True))
    only = Counter(words for mine, words in zip(ours, theirs["found"], strict=True) if words and not mine)
    return {
        "pages": len(pages),
        "index seconds": {"lode": round(built, 2), "datatrove": round(theirs["build"], 2)},
        "MB/s": {"lode": round(size / seconds, 1), "datatrove": round(size / theirs["seconds"], 2)},
        "times as fast": round(theirs["seconds"] / seconds),
        "pages found": {
            "both": both[True, True],
            "lode only": both[True, False],
            "datatrove only": both[False, True],
        },
        "words that only datatrove found": dict(only.most_common(10)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--benchmarks", default=str(SAMPLE / "benchmarks"), help="evaluation sets")
    parser.add_argument(
        "--overlaps", default=str(SAMPLE / "benchmarks" / "page_overlap.csv"), help="true overlaps"
    )
    parser.add_argument("--plants", type=int, default=10_000)
    parser.add_argument("--paragraphs", type=int, default=1_000_000)
    parser.add_argument("--peer", help="an interpreter with datatrove")
    arguments = parser.parse_args()
    crawl = sorted(map(str, (SAMPLE / "web").glob("dev-*.warc.gz")))
    if not crawl:
        sys.exit("No sample crawl here.")
    texts = read_evaluation_sets([arguments.benchmarks]).texts
    index = BenchmarkIndex.build(texts)
    pages = [
        (row["url"], row["text"])
        for batch in extract_pages(crawl, "web")
        for row in batch.select(["url", "text"]).to_pylist()
        if row["text"]
    ]
    with open(arguments.overlaps, encoding="utf-8") as file:
        listed = {row["url"] for row in csv.DictReader(file)}
    clean = [text for url, text in pages if url not in listed]
    everything = [text for _, text in pages]
    code = list(itertools.islice(filter(None, sources()), 6000))
    result: dict[str, Any] = {
        "index": {"texts": len(texts), "unusable": len(index.unusable), "n-grams": len(index.hashes)}
    }
    steps: dict[str, Callable[[], dict[str, Any]]] = {
        "speed": lambda: {
            "pages": speed(index, everything),
            "formulas": speed(index, [text for text in everything if 100 * text.count("\\") > len(text)]),
            "code": speed(index, code),
        },
        "overlaps": lambda: overlaps(index, pages, pathlib.Path(arguments.overlaps)),
        "planted": lambda: planted(texts, index, clean, arguments.plants),
        "false alarms": lambda: false_alarms(index, clean, arguments.paragraphs),
    }
    if arguments.peer:
        some = everything[::6]
        steps["datatrove"] = lambda: beside_datatrove(arguments.peer, texts, index, some)
    for name, step in steps.items():
        result[name] = step()
        print(name, json.dumps(result[name], indent=1, ensure_ascii=False), flush=True)
    record("contamination", result, ["numpy", "pyarrow"])


if __name__ == "__main__":
    main()
