"""Screening of source files: how much good code falls, how much damaged code is caught, how fast, and what a
classifier trained on weak labels learns.

    python -m benchmarks.code_quality [--more FOLDER] [--files N] [--parts syntax readability learned]

Good code: the files of the sample's repositories and graphs that the rules `starcoder2` keep, and with `--more` those
of a folder of further repositories, one folder each (the result names what was in it: unpacked source packages of
Debian bookworm, `apt-get source`; of npm, `npm pack`; of PyPI). The limits in `filters/code_quality.toml` were set with
both in view. Damage, one kind at a time, to a copy of each good file: cut at a random place in its middle, one bracket
or quote deleted, any one character deleted, a merge conflict left in, lines shuffled, random bytes in the middle, a
file of another language under this name.

Classifiers are trained as docs/repositories.md says, five times, and each time score the fifth of the repositories that
they have not seen. The weak labels are of two kinds: what the rules drop as generated, minified or encoded, without the
ten lines at the head, where generators sign; and folders for what was not written by hand, or written to be wrong. They
are no judgement of quality: the results tell whether such labels can be learned, not whether a model gets better by it.
As a control, files against the same with the words of each line jumbled: what a classifier of n-grams has to tell.
"""

import argparse
import hashlib
import pathlib
import random
import re
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from scipy.stats import mannwhitneyu

from benchmarks.record import SAMPLE, record
from corpus.languages import kind_of
from corpus.repositories import read_repository
from filters.classifier import Classifier, FastTextSettings, train
from filters.code_quality import CodeQuality
from filters.code_rules import CodeRules
from filters.normaliser import Normaliser
from filters.scorer import scorer_path
from filters.syntax import BRACKETED, GRAMMARS, check_all, is_checked

# Not far enough apart for a file of one under the name of the other to be wrong.
RELATIVES = (
    {"C", "C++", "Objective-C", "Objective-C++", "Cuda"},
    {"JavaScript", "TypeScript", "TSX", "JSON"},
)
# Folders in which projects keep what they did not write by hand, or wrote to be wrong.
BYPRODUCT = re.compile(
    r"(?:^|/)(?:dist|build|generated|gen|out|vendor|_vendor|third_party|fixtures?|testdata|test-data|snapshots?|roots"
    r"|__snapshots__)/",
    re.I,
)
SOURCE = re.compile(r"(?:^|/)(?:src|lib|source|core|pkg|include)/", re.I)


FOLDS = 5


class File(NamedTuple):
    where: str  # "sample" or "more"
    repository: str
    path: str
    language: str
    text: str


def real_files(more: str | None) -> Iterator[tuple[File, str | None]]:
    """Files and the reason for which the rules drop them, if they do; each text once."""
    rules = CodeRules("starcoder2")
    archives = sorted([*(SAMPLE / "repos").glob("*.tar.gz"), *(SAMPLE / "graphs").glob("*.tar.gz")])
    places = [("sample", path) for path in archives]
    places += [("more", path) for path in (sorted(pathlib.Path(more).iterdir()) if more else [])]
    seen = set()
    for where, place in places:
        for row in read_repository(str(place), where):
            text, language = row["text"], row["language"]
            if not text or not language:
                continue
            verdict = rules.verdict(text, language, row["path"])
            digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
            if digest not in seen:
                seen.add(digest)
                yield File(where, place.name, row["path"], language, text), verdict and verdict[0]


def drawn(files: list[File], most: int) -> list[File]:
    """At most `most` files by a hash of their text, at most a fifth of them from one repository."""
    taken: Counter[str] = Counter()
    chosen = []
    for file in sorted(files, key=lambda file: hashlib.sha256(file.text.encode("utf-8", "replace")).digest()):
        taken[file.repository] += 1
        if taken[file.repository] <= max(most // 5, 1):
            chosen.append(file)
    return chosen[:most]


def damaged(file: File, others: list[File]) -> dict[str, str]:
    """The file's text in each damaged form."""
    text, draw = file.text, random.Random(f"{file.repository}/{file.path}")
    lines = text.split("\n")
    marks = [i for i, c in enumerate(text) if c in "()[]{}\"'"]
    letters = [i for i, c in enumerate(text) if not c.isspace()]
    found = {"cut": text[: int(len(text) * draw.uniform(0.3, 0.7))]}
    at = draw.choice(letters)
    found["character deleted"] = text[:at] + text[at + 1 :]
    if marks:
        at = draw.choice(marks)
        found["bracket or quote deleted"] = text[:at] + text[at + 1 :]
    if len(lines) > 10:
        at = draw.randrange(len(lines) - 6)
        ours, theirs = lines[at : at + 3], lines[at + 1 : at + 4]
        conflict = ["<<<<<<< HEAD", *ours, "=======", *theirs, ">>>>>>> topic"]
        found["merge conflict"] = "\n".join([*lines[:at], *conflict, *lines[at + 4 :]])
        shuffled = lines[:]
        draw.shuffle(shuffled)
        found["lines shuffled"] = "\n".join(shuffled)
    noise = draw.randbytes(max(len(text) // 5, 1)).decode("latin-1")
    found["random bytes"] = text[: len(text) // 2] + noise + text[len(text) // 2 :]
    strange = [
        other
        for other in others
        if other.language != file.language
        and not any({other.language, file.language} <= r for r in RELATIVES)
    ]
    if strange:
        found["another language"] = draw.choice(strange).text
    return found


def verdicts(rules: CodeQuality, texts: list[tuple[str, str]]) -> list[str | None]:
    """Reason of each (language, text), by its conflict markers and its syntax alone."""
    bare = CodeQuality(rules.limits, heuristics=False)
    reasons: list[str | None] = []
    for at in range(0, len(texts), 64):
        some = texts[at : at + 64]
        for (language, text), syntax in zip(some, check_all(some), strict=True):
            verdict = bare.readable(text, language) or rules.well_formed(syntax, language)
            reasons.append(verdict and verdict[0])
    return reasons


def syntax(files: list[File], most: int) -> dict[str, Any]:
    """False drops and catches for each language."""
    rules = CodeQuality()
    by_language = defaultdict(list)
    for file in files:
        if is_checked(file.language):
            by_language[file.language].append(file)
    others = drawn([file for language in GRAMMARS for file in by_language[language]], 400)
    result = {}
    for language, every in sorted(by_language.items()):
        entry: dict[str, Any] = {"limit": rules.limits_for(language)["max_error_share"]}
        for where in ("sample", "more"):
            texts = [file for file in every if file.where == where]
            reasons = verdicts(rules, [(language, file.text) for file in texts])
            fallen = Counter(filter(None, reasons))
            examples = [
                f"{f.repository}: {f.path}" for f, reason in zip(texts, reasons, strict=True) if reason
            ]
            entry[where] = {"files": len(texts), "repositories": len({f.repository for f in texts})}
            if texts:
                entry[where] |= {"dropped": round(fallen.total() / len(texts), 4), "reasons": dict(fallen)}
                entry[where]["examples"] = examples[:5]
        chosen = drawn([file for file in every if 200 < len(file.text) < 50_000], most)
        mutants = defaultdict(list)
        for file in chosen:
            for kind, text in damaged(file, others).items():
                mutants[kind].append((language, text))
        entry["damaged files"] = len(chosen)
        entry["caught"] = {
            kind: round(sum(map(bool, verdicts(rules, texts))) / len(texts), 3)
            for kind, texts in mutants.items()
        }
        result[language] = entry
        print(language, {k: entry[k] for k in ("sample", "more", "caught")}, flush=True)
    return result


def speed(files: list[File]) -> dict[str, Any]:
    """MB/s of a parser's process, by language and in all."""
    by_language = defaultdict(list)
    for file in files:
        if file.language in GRAMMARS or file.language in BRACKETED or file.language == "Python":
            by_language[file.language].append((file.language, file.text))
    check_all([("Python", "")])
    found, every, spent = {}, 0, 0.0
    for language, texts in sorted(by_language.items()):
        some, size = [], 0
        for text in texts:
            if size < 4_000_000:
                some.append(text)
                size += len(text[1].encode("utf-8", "replace"))
        began = time.perf_counter()
        check_all(some)
        seconds = time.perf_counter() - began
        every, spent = every + size, spent + seconds
        found[language] = round(size / seconds / 1e6, 1)
    return {"MB/s": round(every / spent / 1e6, 1), "by language": found}


def readability(files: list[File], refused: list[tuple[File, str]]) -> dict[str, Any]:
    """Share of good files that each measure drops, with examples to look at; and of those that the rules drop."""
    rules = CodeQuality()
    fallen: dict[str, list[str]] = defaultdict(list)
    measured = size = 0
    spent = 0.0
    for file in files:
        if kind_of(file.language) != "programming":
            continue
        measured += 1
        size += len(file.text.encode("utf-8", "replace"))
        began = time.process_time()
        verdict = rules.readable(file.text, file.language)
        spent += time.process_time() - began
        if verdict:
            fallen[verdict[0]].append(f"{file.repository}: {file.path} ({verdict[1]})")
    again: dict[str, Counter[str]] = defaultdict(Counter)
    for file, reason in refused:
        if kind_of(file.language) == "programming":
            verdict = rules.readable(file.text, file.language)
            again[reason][verdict[0] if verdict else "stays"] += 1
    draw = random.Random(0)
    return {
        "of files that the rules drop": {
            reason: dict(found.most_common()) for reason, found in sorted(again.items())
        },
        "files": measured,
        "MB/s": round(size / spent / 1e6, 1),
        "dropped": {
            reason: {
                "files": len(names),
                "share": round(len(names) / measured, 5),
                "examples": sorted(draw.sample(names, min(20, len(names)))),
            }
            for reason, names in sorted(fallen.items())
        },
    }


def learned(files: list[File], refused: list[tuple[File, str]]) -> dict[str, Any]:
    """AUC on repositories that a classifier has not seen, for both kinds of labels."""
    by_folder = []
    for file in files:
        byproduct, source = BYPRODUCT.search(file.path), SOURCE.search(file.path)
        by_hand = source and not byproduct and not re.search("test", file.path, re.I)
        if byproduct or by_hand:
            by_folder.append((file, bool(by_hand)))
    by_rule = [
        (file, False) for file, reason in refused if reason in ("generated", "minified", "encoded_data")
    ]
    by_rule += [(file, True) for file in files]
    headless = [(file._replace(text="\n".join(file.text.split("\n")[10:])), label) for file, label in by_rule]
    some = drawn([file for file in files if kind_of(file.language) == "programming"], 5000)
    control = [(file, True) for file in some] + [
        (file._replace(text=jumbled(file.text)), False) for file in some
    ]
    return {
        "rules": cross_validated(headless),
        "folders": cross_validated(by_folder),
        "control": cross_validated(control),
    }


def jumbled(text: str) -> str:
    """The text with the words of each line in another order."""
    draw = random.Random(text)
    lines = [line.split(" ") for line in text.split("\n")]
    for words in lines:
        draw.shuffle(words)
    return "\n".join(" ".join(words) for words in lines)


def cross_validated(files: list[tuple[File, bool]]) -> dict[str, Any]:
    """AUC by language, so that no language is a hint; releases of one project are one repository."""
    labelled: list[tuple[File, bool, int]] = []
    for file, positive in files:
        if kind_of(file.language) == "programming" and file.text.strip():
            name = re.split(r"[-_]v?\d", file.repository)[0]
            labelled.append((file, positive, hashlib.sha256(name.encode()).digest()[0] % FOLDS))
    normaliser, settings = Normaliser(), FastTextSettings(dim=32, bucket=500_000, passes=50_000)
    pairs: Counter[str] = Counter()
    right: Counter[str] = Counter()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    seconds = 0.0
    size = 0
    for fold in range(FOLDS):
        sides: dict[bool, list[str]] = {True: [], False: []}
        for file, positive, its in labelled:
            if its != fold:
                sides[positive].append(file.text)
        held = [(file, positive) for file, positive, its in labelled if its == fold]
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/quality.bin"
            train(normaliser.batch(sides[True]), normaliser.batch(sides[False]), settings, path, normaliser)
            scorer = Classifier(scorer_path(path))
            began = time.process_time()
            scores = scorer.score([file.text for file, _ in held]).tolist()
            seconds += time.process_time() - began
            size += sum(len(file.text.encode("utf-8", "replace")) for file, _ in held)
        # Scores of two models are not compared with one another.
        by_language: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
        for (file, positive), score in zip(held, scores, strict=True):
            by_language[file.language][positive].append(score)
            counts[file.language]["positives" if positive else "negatives"] += 1
        for language, (bad, good) in by_language.items():
            if bad and good:
                pairs[language] += len(good) * len(bad)
                right[language] += float(mannwhitneyu(good, bad).statistic)
    return {
        "positives": sum(positive for _, positive, _ in labelled),
        "negatives": sum(not positive for _, positive, _ in labelled),
        "scoring, MB/s": round(size / seconds / 1e6, 1),
        "AUC on other repositories": {
            language: {"AUC": round(right[language] / pairs[language], 3), **counts[language]}
            for language in sorted(pairs)
            if min(counts[language].values()) >= 20
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--more", help="a folder of further repositories")
    parser.add_argument("--files", type=int, default=200, help="files of a language to damage")
    parts = ["syntax", "readability", "learned"]
    parser.add_argument("--parts", nargs="*", default=parts, choices=parts)
    arguments = parser.parse_args()
    if not SAMPLE.is_dir() and not arguments.more:
        sys.exit("No repositories: name a folder of some with --more.")
    found = list(real_files(arguments.more))
    files = [file for file, reason in found if reason is None]
    refused = [(file, reason) for file, reason in found if reason]
    result: dict[str, Any] = {
        "files": dict(Counter(file.where for file in files)),
        "more": sorted({file.repository for file in files if file.where == "more"}),
    }
    if "syntax" in arguments.parts:
        result["syntax"] = syntax(files, arguments.files)
        result["speed of the syntax check"] = speed(files)
    if "readability" in arguments.parts:
        result["readability"] = readability(files, refused)
    if "learned" in arguments.parts:
        result["learned"] = learned(files, refused)
    for part in ("speed of the syntax check", "readability", "learned"):
        print(part, result.get(part))
    grammars = ["tree-sitter", *(module.replace("_", "-") for g in GRAMMARS.values() for module, _ in g)]
    record("code_quality", result, sorted(set(grammars)))


if __name__ == "__main__":
    main()
