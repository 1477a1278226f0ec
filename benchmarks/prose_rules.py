"""The rules of the profile `prose` beside datatrove's filters: verdict, reason and text of every document, and speed.

    python -m benchmarks.prose_rules --peer PYTHON [--documents FILE.jsonl ...] [--crawl WARC ...]

PYTHON is an interpreter that has datatrove and its word splitter (`pip install 'datatrove[processing]==0.10.1'
spacy lxml_html_clean orjson`). Documents are the pages of the sample crawl (or of the WARC files given), and those of
JSON lines with a `text`. Both sides run the four filters one after the other on each document, and each filter alone;
the two take turns over slices of the documents, on one core.
"""

import argparse
import collections
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks.record import SAMPLE, record
from corpus.extract import extract_pages
from filters.prose import Prose

FILTERS = ("gopher_repetition", "gopher_quality", "c4", "fineweb")
RUNS = {"all": FILTERS, **{name: (name,) for name in FILTERS}}
SLICES = 8
PEER = """
import json, sys, time
from datatrove.data import Document
from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
from datatrove.utils.text import split_into_words
filters = dict(zip(("gopher_repetition", "gopher_quality", "c4", "fineweb"), (GopherRepetitionFilter(),
    GopherQualityFilter(), C4QualityFilter(), FineWebQualityFilter())))
split_into_words("A text that loads the tokenizer.")
def judge(text, names):
    document = Document(text=text, id="")
    for name in names:
        try:
            verdict = filters[name].filter(document)
        except ZeroDivisionError:
            verdict = (False, "ZeroDivisionError")
        if verdict is not True:
            return verdict[1], document.text
    return None, document.text
for line in sys.stdin:
    names, texts = json.loads(line)
    began = time.process_time()
    judged = [judge(text, names) for text in texts]
    print(json.dumps([time.process_time() - began, judged]), flush=True)
"""


def documents(arguments: argparse.Namespace) -> list[str]:
    texts: list[str] = []
    for batch in extract_pages(arguments.crawl, "web"):
        texts += [text for text in batch["text"].to_pylist() if text]
    for path in arguments.documents:
        with open(path, encoding="utf-8") as lines:
            texts += [json.loads(line)["text"] for line in lines]
    return texts


def side_by_side(texts: list[str], names: tuple[str, ...], peer: subprocess.Popen[str]) -> dict[str, Any]:
    """Agreement and process seconds of one run of filters."""
    assert peer.stdin and peer.stdout
    rules = Prose(filters=names)
    seconds = {"lode": 0.0, "datatrove": 0.0}
    pairs = []
    size = -(-len(texts) // SLICES)
    for at in range(0, len(texts), size):
        part = texts[at : at + size]
        began = time.process_time()
        ours = [rules.judge(text) for text in part]
        seconds["lode"] += time.process_time() - began
        peer.stdin.write(json.dumps([names, part]) + "\n")
        peer.stdin.flush()
        spent, theirs = json.loads(peer.stdout.readline())
        seconds["datatrove"] += spent
        pairs += list(zip(part, ours, theirs, strict=True))
    different: collections.Counter[str] = collections.Counter()
    for _, (verdict, text), (reason, peers_text) in pairs:
        mine = verdict and verdict[0]
        # A document that goes is not edited further; where both keep it, its text has to be the same.
        if mine != reason or (reason is None and text != peers_text):
            different[f"{mine} / {reason}"] += 1
    return {
        "agreement": 1 - different.total() / len(pairs),
        "different (lode / datatrove)": dict(different.most_common()),
        "reasons": dict(collections.Counter(reason or "kept" for _, _, (reason, _) in pairs).most_common()),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "times as fast": round(seconds["datatrove"] / seconds["lode"], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--peer", required=True, help="an interpreter with datatrove and spacy")
    parser.add_argument("--documents", nargs="*", default=[], help="JSON lines with a `text`")
    sample = sorted(map(str, (SAMPLE / "web").glob("dev-*.warc.gz")))
    parser.add_argument("--crawl", nargs="*", default=sample, help="WARC files")
    arguments = parser.parse_args()
    texts = documents(arguments)
    if not texts:
        sys.exit("No documents: name some with --documents or --crawl.")
    with tempfile.TemporaryDirectory() as folder:
        script = pathlib.Path(folder) / "peer.py"
        script.write_text(PEER, encoding="utf-8")
        with subprocess.Popen(
            [arguments.peer, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as peer:
            runs = {}
            for name, names in RUNS.items():
                runs[name] = side_by_side(texts, names, peer)
                shown = {key: runs[name][key] for key in ("agreement", "seconds", "times as fast")}
                print(name, shown, runs[name]["different (lode / datatrove)"])
    characters = sum(map(len, texts))
    lode = runs["all"]["seconds"]["lode"]
    summary = {
        "documents": len(texts),
        "characters": characters,
        "milliseconds a document": round(1e3 * lode / len(texts), 3),
    }
    record("prose_rules", {**summary, "runs": runs}, ["pydantic"])


if __name__ == "__main__":
    main()
