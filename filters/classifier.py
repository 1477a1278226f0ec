"""fastText page classifiers as DeepSeekMath (section 2.1) trains them.

The package is `fasttext-community`: of the fastText packages on PyPI it is the one whose training neither reads
uninitialised memory (NaN, or another model each time) nor returns wrong probabilities under numpy 2. `load` still
tests what it got. One training thread makes a model a function of its data and seed.
"""

import os
import re
import tempfile
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from corpus import storage
from corpus.errors import LodeError
from corpus.ngrams import UNSPACED_CHARACTERS

POSITIVE, NEGATIVE = "__label__yes", "__label__no"
# fastText reads a supervised example whole, however long: a book would be one huge average.
MAX_CHARS = 20_000
TOKEN = re.compile(rf"\\[a-z]+|[^\W_{UNSPACED_CHARACTERS}]+|[{UNSPACED_CHARACTERS}]|[^\w\s]|_")


def normalise(text: str) -> str:
    """A text as the classifier sees it, in training and in scoring: one line of lower-case words, LaTeX commands,
    single symbols and, in unspaced scripts, single characters. Labels in the text lose their meaning."""
    folded = unicodedata.normalize("NFKC", text[:MAX_CHARS]).lower()
    return " ".join(TOKEN.findall(folded))


@dataclass(frozen=True)
class FastTextSettings:
    """The paper's settings. Two it does not state: `bucket` (hashed n-grams; 2,000,000 is fastText's default), and
    `passes`, the least number of examples that training goes through. The paper's million examples are three
    million passes; a few hundred seeds at three epochs would leave every probability at one half, so epochs are
    added until `passes` is reached."""

    dim: int = 256
    lr: float = 0.1
    word_ngrams: int = 3
    min_count: int = 3
    epoch: int = 3
    bucket: int = 2_000_000
    passes: int = 20_000
    seed: int = 0
    threads: int = 1


def train(positives: list[str], negatives: list[str], settings: FastTextSettings, path: str) -> None:
    """Train on normalised texts and write the model to `path`.

    Raises:
        LodeError: one of the classes is empty, or fastText finds no word often enough.
    """
    import fasttext

    if not positives or not negatives:
        raise LodeError(
            f"a classifier needs examples of both kinds; there are {len(positives)} positive and "
            f"{len(negatives)} negative ones."
        )
    lines = [f"{POSITIVE} {t}" for t in positives] + [f"{NEGATIVE} {t}" for t in negatives]
    # One class after the other would leave the model at whatever came last.
    order = np.random.Generator(np.random.PCG64(settings.seed)).permutation(len(lines))
    with tempfile.TemporaryDirectory() as folder:
        examples = os.path.join(folder, "examples.txt")
        with open(examples, "w", encoding="utf-8") as file:
            file.writelines(lines[i] + "\n" for i in order)
        try:
            model = fasttext.train_supervised(
                examples,
                dim=settings.dim,
                lr=settings.lr,
                wordNgrams=settings.word_ngrams,
                minCount=settings.min_count,
                epoch=max(settings.epoch, -(-settings.passes // len(lines))),
                bucket=settings.bucket,
                seed=settings.seed,
                thread=settings.threads,
                verbose=0,
            )
        except (ValueError, RuntimeError) as error:
            raise LodeError(f"fastText could not train: {error}") from error
        written = os.path.join(folder, "model.bin")
        model.save_model(written)
        with open(written, "rb") as source, storage.atomic_write(path) as target:
            while chunk := source.read(16 << 20):
                target.write(chunk)


class Classifier:
    """A trained model that gives the probability of the positive class."""

    def __init__(self, path: str):
        import fasttext

        with local_copy(path) as local:
            try:
                self.model = fasttext.load_model(local)
            except ValueError as error:
                raise LodeError(f"{path}: not a fastText model ({error}).") from error
        self._test(path)

    def score(self, normalised: str) -> float:
        """Probability in [0, 1] that a normalised text is of the positive class."""
        for probability, label in self.model.f.predict(normalised + "\n", 2, 0.0, "strict"):
            if label == POSITIVE:
                return min(float(probability), 1.0)
        return 0.0

    def _test(self, path: str) -> None:
        """Some builds of fastText give every label the same probability; better no score than such a one."""
        found = self.model.f.predict("a test of the model\n", 2, 0.0, "strict")
        if found and not abs(sum(p for p, _ in found) - 1.0) < 1e-3:
            raise LodeError(
                f"{path}: the probabilities of the labels do not sum to 1; reinstall fasttext-community."
            )


@lru_cache(maxsize=8)
def load(path: str, mark: str) -> Classifier:
    """A classifier, loaded once in a process. `mark` changes with the model: workers outlive a run."""
    return Classifier(path)


class local_copy:
    """A path fastText can open: the file itself, or a copy of it from a URL."""

    def __init__(self, path: str):
        self.path = path
        self.copy: Any = None

    def __enter__(self) -> str:
        fs, inside = storage.filesystem(self.path)
        if storage.is_local(self.path):
            if not fs.exists(inside):
                raise LodeError(f"{self.path}: there is no such model.")
            return inside
        self.copy = tempfile.NamedTemporaryFile(suffix=".bin")
        fs.get_file(inside, self.copy.name)
        return self.copy.name

    def __exit__(self, *_: Any) -> None:
        if self.copy:
            self.copy.close()


@dataclass(frozen=True)
class Score:
    """Transform: the columns that identify a page, and a column of probabilities for each model."""

    models: tuple[tuple[str, str], ...]  # (column name, path of the model)
    mark: str  # changes with the models' content

    def schema(self, rows: pa.Schema) -> pa.Schema:
        kept = [rows.field(name) for name in ("id", "url", "domain")]
        return pa.schema([*kept, *(pa.field(name, pa.float32()) for name, _ in self.models)])

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        if load.cache_info().currsize >= 8 - len(self.models):
            load.cache_clear()  # models of earlier rounds would fill the memory
        models = [load(path, self.mark) for _, path in self.models]
        for batch in batches:
            texts = [normalise(text or "") for text in batch.column("text").to_pylist()]
            scores = [pa.array([model.score(t) for t in texts], pa.float32()) for model in models]
            nothing = pa.nulls(batch.num_rows, pa.string())
            yield pa.RecordBatch.from_arrays(
                [batch["id"], batch["url"], batch["domain"], *scores, nothing, nothing],
                names=["id", "url", "domain", *(name for name, _ in self.models), "reason", "detail"],
            )
