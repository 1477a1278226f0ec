"""fastText page classifiers as DeepSeekMath (section 2.1) trains them, scored without fastText.

A supervised fastText model with two labels is linear: the difference of its logits is the mean, over a text's words
and hashed word n-grams, of one number each: row . (output of the positive label - output of the other). So a model of
(words + buckets) x dim floats (2 GB with the paper's settings) comes down, without loss, to one float a row and the
vocabulary. `train` writes both: `NAME.bin` as fastText has it, for others to use, and `NAME.safetensors`, the scorer:
a file of a few MB that all workers of a host map into memory, with the normalisation it was trained on inside.

The package is `fasttext-community`: of the fastText packages on PyPI it is the one whose training neither reads
uninitialised memory (NaN, or another model each time) nor returns wrong probabilities under numpy 2. One training
thread makes a model a function of its examples and seed, whatever order the examples come in.
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from itertools import repeat

import numpy as np
import pyarrow as pa
import xxhash

from corpus import storage
from corpus.errors import LodeError
from corpus.ngrams import runs
from filters.normaliser import BLOCK, SPACES, Normaliser
from filters.scorer import FORMAT, NEGATIVE, POSITIVE, collapse, fnv, mapped, scorer_path

EOS = b"</s>"
LABEL = "__label__"
NGRAM_BASE = np.uint64(116049371)
HOT_WORDS = (
    1 << 16
)  # the most frequent words, looked up in a dict of each worker; the others in the mapped file
# fastText adds this to a probability before it takes the logarithm, and shows the exponential of that.
FLOOR = 1e-5
SHUFFLE_FILES = 64
CACHED_SCORERS = 32

# A process of its own: its gigabytes go back to the system, and its crash is not ours.
TRAIN = """
import json, sys
import fasttext
order = json.loads(sys.argv[1])
try:
    fasttext.train_supervised(**order["train"]).save_model(order["model"])
except (ValueError, RuntimeError, MemoryError) as error:
    sys.exit(f"{type(error).__name__}: {error}" if isinstance(error, MemoryError) else str(error))
"""


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


def train(
    positives: Iterable[str],
    negatives: Iterable[str],
    settings: FastTextSettings,
    path: str,
    normaliser: Normaliser | None = None,
    copies: int = 1,
) -> None:
    """Train on normalised texts; write the model to `path` (`NAME.bin`) and its scorer beside it.

    Examples are read once and kept on the disk, of which they and the model need as much as they are large. With one
    thread the files depend on the examples, not on their order.

    Args:
        normaliser: what the texts were normalised with; None: `normalise`.
        copies: how often each positive is an example, to balance the classes.

    Raises:
        LodeError: one of the classes is empty, fastText finds no word often enough, or it cannot train.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "examples.txt")
        counts = shuffled(
            ((POSITIVE, positives, copies), (NEGATIVE, negatives, 1)), settings.seed, folder, file
        )
        if not counts[POSITIVE] or not counts[NEGATIVE]:
            raise LodeError(
                f"a classifier needs examples of both kinds; there are {counts[POSITIVE]} positive and "
                f"{counts[NEGATIVE]} negative ones."
            )
        arguments = {
            "dim": settings.dim,
            "lr": settings.lr,
            "wordNgrams": settings.word_ngrams,
            "minCount": settings.min_count,
            "epoch": max(settings.epoch, -(-settings.passes // counts.total())),
            "bucket": settings.bucket,
            "seed": settings.seed,
            "thread": settings.threads,
            "verbose": 0,
        }
        written = os.path.join(folder, "model.bin")
        order = json.dumps({"train": {"input": file, **arguments}, "model": written})
        done = subprocess.run(
            [sys.executable, "-P", "-c", TRAIN, order], capture_output=True, text=True, check=False
        )
        if done.returncode < 0:
            size = 4e-9 * settings.dim * settings.bucket
            raise LodeError(
                f"fastText was stopped by {signal.Signals(-done.returncode).name} while it trained; its buckets alone "
                f"take {size:.1f} GB of memory, so make more room or choose fewer."
            )
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
            raise LodeError(f"fastText could not train: {why.rstrip('.')}.")
        made = {"settings": asdict(settings), "epochs": arguments["epoch"]}
        made |= {"positives": counts[POSITIVE], "negatives": counts[NEGATIVE]}
        made |= {"package": f"fasttext-community {importlib.metadata.version('fasttext-community')}"}
        collapse(written, scorer_path(path), POSITIVE, normaliser, made, name=path)
        with open(written, "rb") as source, storage.atomic_write(path) as target:
            while chunk := source.read(16 << 20):
                target.write(chunk)


def shuffled(
    classes: Sequence[tuple[str, Iterable[str], int]], seed: int, folder: str, path: str
) -> Counter[str]:
    """Write labelled lines to `path` in the order of their hashes, each so often; return how many there are of a label.

    One class after the other would leave the model at whatever came last. Memory: one file of `SHUFFLE_FILES`.
    """
    counts: Counter[str] = Counter()
    names = [os.path.join(folder, f"lines-{number:02}") for number in range(SHUFFLE_FILES)]
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(name, "wb")) for name in names]
        for label, texts, copies in classes:
            for text in texts:
                line = f"{label} {SPACES.sub(' ', text)}".encode("utf-8", "surrogatepass")
                for copy in range(copies):  # each has a place of its own
                    digest = xxhash.xxh3_64_digest(line, seed + copy)
                    files[digest[0] * SHUFFLE_FILES >> 8].write(digest.hex().encode() + line + b"\n")
                counts[label] += copies
    with open(path, "wb") as whole:
        for name in names:
            with open(name, "rb") as file:
                whole.writelines(line[16:] for line in sorted(file))
            os.remove(name)
    return counts


class Classifier:
    """A trained model that gives the probability of the positive class.

    Args:
        path: a scorer (`NAME.safetensors`), or a model in fastText's format, which is brought to one first; local or
            a URL, of which each host keeps one copy.
        positive: for fastText's format, the label whose probability is the score; None: `__label__yes`.
        mark: changes with the file's content.

    Raises:
        LodeError: there is no such model, or it is of a kind that is not supported.
    """

    def __init__(self, path: str, positive: str | None = None, mark: str | None = None):
        arrays, self.about = mapped(on_this_host(path, positive, mark), path)
        self.rows, self.hashes = arrays["rows"], arrays["hashes"]
        self.sorted_hashes, self.by_hash = arrays["sorted_hashes"], arrays["by_hash"]
        self.word_ends, self.word_bytes = arrays["word_ends"], arrays["word_bytes"]
        self.word_ngrams, self.words = self.about["word_ngrams"], self.about["words"]
        self.buckets = self.rows[self.words :]
        self.normaliser = Normaliser.from_json(arrays["tokenizer"].tobytes().decode() or None)
        ends = self.word_ends[:HOT_WORDS].tolist()
        hot = self.word_bytes[: ends[-1]].tobytes()
        self.ids = {hot[start:end]: i for i, (start, end) in enumerate(zip([0, *ends], ends, strict=False))}
        self.eos_hash = fnv([EOS])
        found = int(self.find([EOS], self.eos_hash)[0])
        self.eos = found if found >= 0 else -2  # -1 is any other unknown word
        self.ids[EOS] = self.eos

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Scores [len(texts)] float64 of texts as they are; see `score_normalised`."""
        return self.score_normalised(self.normaliser.batch(texts))

    def score_normalised(self, texts: Sequence[str]) -> np.ndarray:
        """Scores [len(texts)] float64 in [0, 1] of normalised texts; a text without a known feature has 0.

        A score is the number that fastText itself gives, its probability + 1e-5. Where that would pass 1, above
        0.99999, the score goes on rising towards 1, so that the surest pages still have an order.
        """
        sums, features = self.sums(texts)
        logits = sums / np.maximum(features, 1)
        with np.errstate(over="ignore"):
            probability, other = 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(logits))
        scores = np.where(other > FLOOR / 0.99, probability + FLOOR, 1 - 0.01 * other)
        return np.where(features > 0, scores, 0.0)

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """Logits [len(texts)] float64 of the positive class for normalised texts; 0 without a known feature."""
        sums, features = self.sums(texts)
        return sums / np.maximum(features, 1)

    def sums(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Sum of the numbers of a text's features [len(texts)] float64, and how many they are [len(texts)] int64."""
        sums, features = np.zeros(len(texts)), np.zeros(len(texts), np.int64)
        first = size = 0
        for i, text in enumerate(texts):
            size += len(text) + 1
            if size >= BLOCK or i == len(texts) - 1:
                sums[first : i + 1], features[first : i + 1] = self.block(texts[first : i + 1])
                first, size = i + 1, 0
        return sums, features

    def block(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        _, ids, hashes, starts, ends = self.tokens(texts)
        known = ids >= 0
        values = np.where(known, self.rows[np.maximum(ids, 0)], np.float32(0)).astype(np.float64)
        features = np.add.reduceat(known, starts, dtype=np.int64)
        for size, buckets in self.ngrams(hashes):
            gathered = self.buckets[buckets]
            # n-grams that would run into the next text
            over = np.maximum(ends[:, None] - np.arange(1, size), starts[:, None]).ravel()
            gathered[over[over < len(gathered)]] = 0
            values[: len(gathered)] += gathered
            features += np.maximum(ends - starts - size + 1, 0)
        return np.add.reduceat(values, starts), features

    def tokens(
        self, texts: Sequence[str]
    ) -> tuple[list[bytes], np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The T tokens of some texts, each ending in </s>, with their numbers [T] int64 (below 0: unknown) and
        hashes [T] uint64; and where each text starts and ends."""
        data = (" </s> ".join([plain(text) for text in texts]) + " </s>").encode("utf-8", "surrogatepass")
        tokens = data.replace(b"\0", b" ").split()
        ids = np.fromiter(map(self.ids.get, tokens, repeat(-1)), np.int64, len(tokens))
        ends = np.flatnonzero(ids == self.eos) + 1
        hashes = self.hashes[np.maximum(ids, 0)]
        if self.eos < 0:
            hashes[ends - 1] = self.eos_hash
        cold = np.flatnonzero(ids == -1)
        if len(cold):
            words = [tokens[i] for i in cold.tolist()]
            hashes[cold] = fresh = fnv(words)
            ids[cold] = self.find(words, fresh)
        # As in dictionary.cc: an int32 becomes an uint64 with its sign.
        wide = hashes.view(np.int32).astype(np.int64).view(np.uint64)
        return tokens, ids, wide, np.concatenate([[0], ends[:-1]]), ends

    def find(self, words: Sequence[bytes], hashes: np.ndarray) -> np.ndarray:
        """Numbers [W] int64 of words in the vocabulary, -1 of others."""
        found = np.full(len(words), -1, np.int64)
        lengths = np.fromiter(map(len, words), np.int64, len(words))
        data = np.frombuffer(b"".join(words), np.uint8)
        begins = np.cumsum(lengths) - lengths
        at = np.searchsorted(self.sorted_hashes, hashes)
        left = np.arange(len(words))
        while len(left):  # more than once where words of the vocabulary have one hash
            at, left = at[at < self.words], left[at < self.words]
            same = self.sorted_hashes[at] == hashes[left]
            at, left = at[same], left[same]
            number = self.by_hash[at].astype(np.int64)
            start = np.where(number > 0, self.word_ends[number - 1], 0)
            length = self.word_ends[number] - start
            equal = length == lengths[left]
            long = np.where(equal, length, 0)
            differs = self.word_bytes[runs(start, long)] != data[runs(begins[left], long)]
            ends = np.concatenate([[0], np.cumsum(differs)])[np.cumsum(long)]
            equal &= np.diff(ends, prepend=0) == 0
            found[left[equal]] = number[equal]
            at, left = at[~equal] + 1, left[~equal]
        return found

    def ngrams(self, hashes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """For each n from 2 the bucket of the n-gram at each place where one can begin, across the texts."""
        running = hashes
        for size in range(2, self.word_ngrams + 1):
            if len(hashes) < size:
                return
            running = running[:-1] * NGRAM_BASE + hashes[size - 1 :]
            # Several times as fast as the remainder.
            yield size, (running - running // self.modulus * self.modulus).view(np.int64)

    @cached_property
    def modulus(self) -> np.uint64:
        return np.uint64(max(len(self.buckets), 1))

    def explain(self, text: str) -> list[tuple[str, float, int]]:
        """What makes a text's score: its words and n-grams, the share of each in the logit, and how often it comes.

        From the strongest for the positive class to the strongest against; together they are the logit.
        """
        tokens, ids, hashes, _, _ = self.tokens([self.normaliser(text)])
        words = [token.decode("utf-8", "replace") for token in tokens]
        shares: defaultdict[str, float] = defaultdict(float)
        counts: Counter[str] = Counter()
        known = np.flatnonzero(ids >= 0).tolist()
        found = [(words[i], value) for i, value in zip(known, self.rows[ids[known]].tolist(), strict=True)]
        for size, buckets in self.ngrams(hashes):
            for i, value in enumerate(self.buckets[buckets].tolist()):
                found.append((" ".join(words[i : i + size]), value))
        for ngram, value in found:
            shares[ngram] += value / len(found)
            counts[ngram] += 1
        return sorted(
            ((n, share, counts[n]) for n, share in shares.items()), key=lambda row: (-row[1], row[0])
        )


def plain(text: str) -> str:
    """A line as fastText reads it: up to </s>, and without labels. Normalised texts have neither."""
    if "</s>" not in text and LABEL not in text:
        return text
    words = SPACES.split(text)
    if "</s>" in words:
        words = words[: words.index("</s>")]
    return " ".join(word for word in words if not word.startswith(LABEL))


@lru_cache(maxsize=8)
def load(path: str, mark: str) -> Classifier:
    """A classifier, opened once in a process. `mark` changes with the model: workers outlive a run."""
    return Classifier(path, mark=mark)


def on_this_host(path: str, positive: str | None = None, mark: str | None = None) -> str:
    """A local file with the scorer of a model: its own, or one that all processes of this host share."""
    fs, inside = storage.filesystem(path)
    whole = inside.endswith(".safetensors")
    if whole and storage.is_local(path):
        return inside
    try:
        mark = mark or str(sorted(fs.info(inside).items(), key=str))
    except FileNotFoundError:
        raise LodeError(f"{path}: there is no such model.") from None
    folder = os.path.join(tempfile.gettempdir(), f"lode-classifiers-{os.getuid()}")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    if os.stat(folder).st_uid != os.getuid():
        raise LodeError(f"{folder}: belongs to somebody else; set TMPDIR to a folder of your own.")
    # Before the lock, since it may have to be fetched too.
    beside = on_this_host(scorer_path(path)) if trained_here(path) else None
    key = hashlib.sha256(json.dumps([FORMAT, path, positive, mark]).encode()).hexdigest()[:32]
    copy = os.path.join(folder, f"{key}.safetensors")
    with open(os.path.join(folder, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first makes it, the others wait
        if os.path.exists(copy):
            os.utime(copy)
            return copy
        with tempfile.TemporaryDirectory() as scratch:
            local = inside
            if not storage.is_local(path):
                local = os.path.join(scratch, "model")
                fs.get_file(inside, local)
            if whole:
                with open(local, "rb") as source, storage.atomic_write(copy) as target:
                    while chunk := source.read(16 << 20):
                        target.write(chunk)
            else:
                collapse(local, copy, positive, normaliser_of(local, beside), name=path)
        # A file that is in use stays readable when its name goes.
        old = sorted((e for e in os.scandir(folder) if e.name != "lock"), key=lambda e: e.stat().st_mtime)
        for entry in old[:-CACHED_SCORERS]:
            os.remove(entry.path)
    return copy


def trained_here(path: str) -> bool:
    """Whether `train` may have written the scorer beside this model."""
    return path.endswith(".bin") and storage.exists(scorer_path(path))


def normaliser_of(model: str, scorer: str | None) -> Normaliser | None:
    """The normaliser of a model in fastText's format, if this is its scorer."""
    if scorer is None:
        return None
    arrays, about = mapped(scorer, scorer)
    with open(model, "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != about["model_sha256"]:
            return None
    return Normaliser.from_json(arrays["tokenizer"].tobytes().decode() or None)


@dataclass(frozen=True)
class Score:
    """Transform: the columns that identify a page, and a column of probabilities for each model."""

    models: tuple[tuple[str, str], ...]  # (column name, path of the scorer or model)
    mark: str  # changes with the models' content

    def schema(self, rows: pa.Schema) -> pa.Schema:
        kept = [rows.field(name) for name in ("id", "url", "domain")]
        kept.append(pa.field("characters", pa.int32()))
        return pa.schema([*kept, *(pa.field(name, pa.float64()) for name, _ in self.models)])

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        models = [load(path, self.mark) for _, path in self.models]
        for batch in batches:
            texts = [text or "" for text in batch.column("text").to_pylist()]
            normalised: dict[str, list[str]] = {}  # once for all models that read texts in the same way
            scores = []
            for model in models:
                way = str(model.normaliser.identity)
                if way not in normalised:
                    normalised[way] = model.normaliser.batch(texts)
                scores.append(pa.array(model.score_normalised(normalised[way]), pa.float64()))
            nothing = pa.nulls(batch.num_rows, pa.string())
            characters = pa.array([len(text) for text in texts], pa.int32())
            yield pa.RecordBatch.from_arrays(
                [batch["id"], batch["url"], batch["domain"], characters, *scores, nothing, nothing],
                names=[
                    "id",
                    "url",
                    "domain",
                    "characters",
                    *(name for name, _ in self.models),
                    "reason",
                    "detail",
                ],
            )
