"""Main content against labelled pages: precision, recall and F1 over words, for Lode and other extractors.

    python -m benchmarks.content_quality [--peer PYTHON] [--gold FOLDER] [--split dev]

Words are runs of letters and digits in lower case, single characters for Han and Kana; so the marks of Markdown and
of formulas count for nothing. A page with a text as its label scores the F1 of the two multisets of words, and a set
the mean over its pages. A set with segments scores the F1 of finding those that must be there (recall) without those
that must not (precision). PYTHON has the libraries of `benchmarks/peers.py`; without it, Lode is measured alone.
"""

import argparse
import dataclasses
import json
import pathlib
import re
import subprocess
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from statistics import fmean

from benchmarks.gold_pages import GOLD, labelled_pages
from benchmarks.peers import EXTRACTORS
from benchmarks.record import record
from corpus.charset import decode
from corpus.html import extract_text

PEERS = pathlib.Path(__file__).with_name("peers.py")
_UNSPACED = "\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}_])\w)+")
_FENCE = re.compile(r"^[ \t]*(?:`{3,}|~{3,}).*$", re.M)


@dataclasses.dataclass(frozen=True)
class Score:
    """Shares from 0 to 1."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def words(text: str) -> list[str]:
    """The words of plain text or Markdown, in order; what opens a fence is no word."""
    return _WORD.findall(unicodedata.normalize("NFC", _FENCE.sub("", text)).lower())


def text_score(text: str, gold: str) -> Score:
    """How far the words of a text are those of its label, each word counted as often as it occurs."""
    ours, label = Counter(words(text)), Counter(words(gold))
    shared = (ours & label).total()
    return Score(shared / max(ours.total(), 1), shared / max(label.total(), 1))


def segment_score(texts: Iterable[str], pages: Iterable[dict]) -> Score:
    """Over all pages: recall of the segments that must be in their texts, precision against those that must not."""
    hits = missed = wrong = 0
    for text, page in zip(texts, pages, strict=True):
        spoken = " ".join(words(text))
        found = [" ".join(words(segment)) in spoken for segment in page["present"]]
        hits += sum(found)
        missed += len(found) - sum(found)
        wrong += sum(" ".join(words(segment)) in spoken for segment in page["absent"])
    return Score(hits / max(hits + wrong, 1), hits / max(hits + missed, 1))


def score(pages: list[dict], texts: list[str]) -> dict[str, dict[str, float]]:
    """Set to its number of pages, precision, recall and F1; `macro` has the mean F1 over the sets in which
    precision can be measured."""
    table: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(page["set"] for page in pages):
        ours = [(page, text) for page, text in zip(pages, texts, strict=True) if page["set"] == name]
        whole = [text_score(text, page["gold"]) for page, text in ours if page["gold"] is not None]
        if whole:
            table[name] = {
                "pages": len(whole),
                "precision": fmean(one.precision for one in whole),
                "recall": fmean(one.recall for one in whole),
                "f1": fmean(one.f1 for one in whole),
            }
        parts = [(page, text) for page, text in ours if page["gold"] is None]
        if parts:
            found = segment_score([text for _, text in parts], [page for page, _ in parts])
            row = {"pages": len(parts), "precision": found.precision, "recall": found.recall, "f1": found.f1}
            if not any(page["absent"] for page, _ in parts):
                row = {"pages": len(parts), "recall": found.recall}
            table[f"{name} segments"] = row
    measured = [row["f1"] for row in table.values() if "f1" in row]
    table["macro"] = {"pages": len(pages), "f1": fmean(measured)}
    return table


def lode(html: str) -> str:
    return extract_text(html).text


def peer(python: pathlib.Path, name: str) -> Callable[[list[str]], list[str]]:
    """All pages through one extractor of another interpreter; an empty text where it found or raised something."""

    def run(pages: list[str]) -> list[str]:
        lines = "".join(json.dumps(page) + "\n" for page in pages)
        done = subprocess.run(
            [str(python), str(PEERS), name], input=lines, text=True, stdout=subprocess.PIPE, check=True
        )
        return [json.loads(line) or "" for line in done.stdout.splitlines()]

    return run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--gold",
        type=pathlib.Path,
        default=GOLD,
        help="labelled pages; fetched by benchmarks.gold_pages if missing",
    )
    parser.add_argument("--peer", type=pathlib.Path, help="interpreter with the other extractors")
    parser.add_argument(
        "--split", choices=["dev", "held_out"], help="only these pages, and nothing is recorded"
    )
    parser.add_argument("--pages", action="store_true", help="also print each page's score for Lode")
    arguments = parser.parse_args()
    rows = labelled_pages(arguments.gold)
    splits = [arguments.split] if arguments.split else ["dev", "held_out"]
    pages = [row for row in rows if row["split"] in splits]
    html = [decode((arguments.gold / row["html_path"]).read_bytes(), None) for row in pages]
    texts = {"lode": [lode(page) for page in html]}
    for name in EXTRACTORS if arguments.peer else ():
        texts[name] = peer(arguments.peer, name)(html)
    if arguments.pages:
        for page, text in zip(pages, texts["lode"], strict=True):
            one = segment_score([text], [page]) if page["gold"] is None else text_score(text, page["gold"])
            print(f"{one.f1:.3f} P {one.precision:.3f} R {one.recall:.3f}  {page['html_path']}")
    result = {}
    for split in splits:
        ours = [i for i, page in enumerate(pages) if page["split"] == split]
        result[split] = {
            name: score([pages[i] for i in ours], [found[i] for i in ours]) for name, found in texts.items()
        }
        print_table(split, result[split])
    if not arguments.split:
        record("content_quality", result, ["lode", "resiliparse", "lxml"])


def print_table(split: str, table: dict[str, dict[str, dict[str, float]]]) -> None:
    sets = list(next(iter(table.values())))
    print(f"\n{split}: F1 (precision, recall), or recall alone")
    print(" " * 24 + "".join(f"{name:>24}" for name in sets))
    for name, scores in table.items():
        cells = []
        for row in scores.values():
            if "precision" in row:
                cells.append(f"{row['f1']:.3f} ({row['precision']:.3f}, {row['recall']:.3f})")
            else:
                cells.append(f"{row['f1']:.3f}" if "f1" in row else f"recall {row['recall']:.3f}")
        print(f"{name:24}" + "".join(f"{cell:>24}" for cell in cells))
    print(f"{'pages':24}" + "".join(f"{row['pages']:24}" for row in next(iter(table.values())).values()))


if __name__ == "__main__":
    main()
