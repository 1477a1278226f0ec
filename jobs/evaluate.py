"""What a model answers to the questions of `jobs.questions`."""

import posixpath
import statistics
from collections.abc import Callable, Collection
from typing import Any

from corpus import storage
from corpus.tokens import TextTokenizer
from fim.holes import KINDS
from jobs.questions import Asked, answer_tokens
from pretrain.completion import complete, edit_similarity, wilson
from pretrain.model import Transformer

Show = Callable[[int, int], None]


def fill(
    model: Transformer, questions: list[Asked], tokenizer: TextTokenizer, show: Show
) -> list[dict[str, Any]]:
    """Of each kind of hole and each language: how many it fills exactly, up to white space at both ends, ending where
    the hole does; the interval of that rate; and the mean loss of what stood there (nats a token)."""
    answers = []
    for done, asked in enumerate(questions):
        wanted = asked.text.strip()

        def lost(tokens: list[int], wanted: str = wanted) -> bool:
            # Bytes at the end may be part of a character.
            return not wanted.startswith(tokenizer.decode(tokens).rstrip("\ufffd").strip())

        most = answer_tokens(asked.gold)
        found = complete(model, asked.prompts[0], asked.gold, most, tokenizer.special["eos"], lost)
        exact = found.written.ended and tokenizer.decode(found.written.tokens).strip() == wanted
        answers.append((asked, exact, found.loss))
        show(done + 1, len(questions))
    rows = []
    for kind in KINDS:
        for language, of in _by_language([answer for answer in answers if answer[0].kind == kind]):
            exact = sum(answer[1] for answer in of)
            low, high = wilson(exact, len(of))
            loss = statistics.fmean(answer[2] for answer in of)
            rows.append({"kind": kind, "language": language, "holes": len(of), "exact": exact / len(of),
                         "low": low, "high": high, "loss": loss})  # fmt: skip
    return rows


def next_lines(
    model: Transformer, questions: list[Asked], tokenizer: TextTokenizer, show: Show
) -> list[dict[str, Any]]:
    """Of each language: the share of lines written exactly (up to white space at both ends), their mean similarity and
    loss (nats a token) with the files they depend on, the same for the file alone, and by how much the loss is lower
    with them, on average and with the standard error of that."""
    answers = []
    for done, asked in enumerate(questions):
        of = []
        for tokens in asked.prompts:
            found = complete(
                model, tokens, asked.gold, answer_tokens(asked.gold), tokenizer.special["eos"],
                lambda tokens: "\n" in tokenizer.decode(tokens),
            )  # fmt: skip
            line = tokenizer.decode(found.written.tokens).split("\n")[0].strip()
            of.append((line == asked.text.strip(), edit_similarity(line, asked.text.strip()), found.loss))
        answers.append((asked, *of))
        show(done + 1, len(questions))
    rows = []
    for language, of in _by_language(answers):
        row: dict[str, Any] = {"language": language, "lines": len(of)}
        for way, place in (("with_dependencies", 1), ("file_alone", 2)):
            means = [statistics.fmean(answer[place][i] for answer in of) for i in range(3)]
            row[way] = dict(zip(("exact", "similarity", "loss"), means, strict=True))
        saved = [answer[2][2] - answer[1][2] for answer in of]
        row["loss_saved"] = statistics.fmean(saved)
        row["standard_error"] = statistics.stdev(saved) / len(saved) ** 0.5 if len(saved) > 1 else None
        rows.append(row)
    return rows


def find_tokenizer(model: str, shards: str | None, fingerprints: Collection[str]) -> str | None:
    """The tokenizer.json of a work folder or of an exported model, where it lies and is the right one."""
    places = [storage.join(model, "tokenizer.json")]
    for path in filter(None, (shards, model)):
        folder = storage.absolute(path)
        for _ in range(3):
            folder = posixpath.dirname(folder)
            places.append(storage.join(folder, "tokenizer", "tokenizer.json"))
    for place in places:
        if storage.exists(place) and fingerprints <= {TextTokenizer.load(place).fingerprint}:
            return place
    return None


def _by_language(answers: list[Any]) -> list[tuple[str, list[Any]]]:
    """All of them, then those of each language where there are several, most first."""
    languages: dict[str, list[Any]] = {}
    for answer in answers:
        languages.setdefault(answer[0].language, []).append(answer)
    each = sorted(languages.items(), key=lambda item: (-len(item[1]), item[0]))
    return [("all", answers), *each] if answers else []
