"""Measured runs of recipes, for `lode plan`: those that come with Lode, and finished work folders."""

import os
import posixpath
import re
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from importlib import resources
from typing import Any

from pydantic import ValidationError

from corpus import storage
from corpus.errors import LodeError
from corpus.file_tables import table_files
from corpus.manifests import dict_of, is_stale_round, read, round_number
from corpus.repositories import repository_paths
from jobs.deduplicate import minhash_of
from jobs.engine import limited
from jobs.recipe import Recipe, Source
from jobs.repository_inputs import places
from jobs.web import is_installed

MINING = ("mining/seeds", "mining/examples", "mining/models", "mining/scores", "mining/statistics")
WEB = ("pages", "quality", "mined", "deduplicated", "decontaminated")
CODE = ("files", "code_rules", "code_deduplicated", "code_decontaminated", "repositories")
PACKING = ("tokenizer", "tokenized", "heldout", "shards")
# Stages that run in one process on the driver, however many cores there are.
SERIAL = {"mining/models", "tokenizer"}


@dataclass(frozen=True)
class Settings:
    """What of a recipe decides costs."""

    rounds: int = 0  # of mining
    targets: int = 0
    seeds: int = 0  # documents of a target
    max_examples: int = 0
    epoch: int = 0
    passes: int = 0
    dim: int = 0
    bucket: int = 0
    rest: float = 0.0  # share of the pages that no target collects
    bands: int = 0
    permutations: int = 0  # bands x rows: those that are computed
    verify: bool = False
    code_permutations: int = 0
    decontaminates: bool = False
    sample_chars: int = 0  # of a tokenizer that is trained
    # The mixture: weights of what is mined (or of the unmined web), of the rest, of repositories.
    web_weight: float = 0.0
    rest_weight: float = 0.0
    code_weight: float = 0.0
    max_epochs: float = 1.0
    mixture_tokens: int = 0

    @classmethod
    def of(cls, recipe: Recipe, seeds: int | None = None) -> "Settings":
        """`seeds`: documents of each target; as many as training takes where it is not known."""
        values: dict[str, Any] = {}
        if mine := recipe.mine:
            values |= mine.classifier.model_dump(include={"epoch", "passes", "dim", "bucket"})
            values |= {
                "rounds": mine.max_rounds,
                "targets": len(mine.targets),
                "max_examples": mine.max_examples,
            }
            values |= {"seeds": mine.max_examples if seeds is None else seeds}
            values |= {"rest": mine.rest.share if mine.rest else 0.0}
        if section := recipe.deduplicate:
            minhash = minhash_of(section, recipe.seed)
            values |= {"bands": minhash.bands, "permutations": minhash.permutations, "verify": section.verify}
        if recipe.repositories:
            values["code_permutations"] = minhash_of(recipe.code.deduplicate, recipe.seed).permutations
        values["decontaminates"] = recipe.decontaminate is not None
        values["sample_chars"] = 0 if recipe.tokenizer.path else recipe.tokenizer.sample_chars
        mixture = recipe.mixture
        code = sum(mixture.weights.get(name, 0.0) for name in recipe.repositories)
        rest = mixture.weights.get(recipe.mine.rest.name, 0.0) if recipe.mine and recipe.mine.rest else 0.0
        values |= {"web_weight": sum(mixture.weights.values()) - code - rest, "rest_weight": rest}
        values |= {
            "code_weight": code,
            "max_epochs": mixture.max_epochs,
            "mixture_tokens": mixture.tokens or 0,
        }
        return cls(**values)

    @property
    def examples(self) -> float:
        """Positives, or negatives, of one round's classifier."""
        return min(self.seeds, self.max_examples)

    def model_bytes(self, words: float) -> float:
        """A fastText classifier, while it is trained and on disk: float32 vectors of its buckets and words."""
        return 4.0 * self.dim * (self.bucket + words)

    def scorer_bytes(self, words: float) -> float:
        """What scores: a float32 for each bucket and word."""
        return 4.0 * (self.bucket + words)

    def scorers_held(self, words: float) -> float:
        """Bytes that the workers of a machine map together: a scorer for each target of this round and the last."""
        return 2 * self.targets * self.scorer_bytes(words)


@dataclass(frozen=True)
class Amounts:
    """What goes through a stage; bytes are of text but for what the first stages read. Repositories come in whole
    archives and leave `files` as files."""

    rows_in: float
    bytes_in: float
    rows_out: float = 0.0
    bytes_out: float = 0.0
    tokens: float = 0.0


@dataclass(frozen=True)
class Measurement(Amounts):
    """A stage of a measured run. None: not measured."""

    core_seconds: float = 0.0
    disk_bytes: float = 0.0
    shuffle_bytes: float | None = None
    worker_bytes: float | None = None  # the largest Python worker while the stage ran


@dataclass(frozen=True)
class Run:
    """A measured run of a recipe."""

    name: str
    crawls: list[str]  # what it read: runs of one crawl are like each other
    pages: float
    bytes: float
    repositories: float
    repository_bytes: float
    settings: Settings
    stages: dict[str, Measurement]
    words: float = 0.0  # in a classifier's vocabulary
    collected: float = 0.0  # pages that the targets of the last round collect
    pairs: float = 0.0  # of documents that share a band and were compared

    @property
    def size(self) -> float:
        return self.bytes + self.repository_bytes


def packaged_runs() -> list[Run]:
    """The runs that come with Lode."""
    return load_runs((resources.files("jobs") / "rates.toml").read_text(encoding="utf-8"))


def load_runs(text: str) -> list[Run]:
    runs = []
    for row in tomllib.loads(text)["runs"]:
        stages = {name: Measurement(**values) for name, values in row.pop("stages").items()}
        runs.append(Run(**row | {"settings": Settings(**row["settings"]), "stages": stages}))
    return runs


def runs_as_toml(runs: list[Run]) -> str:
    """The text that `load_runs` reads."""

    def value(v: Any) -> str:
        if isinstance(v, bool):
            return str(v).lower()
        if isinstance(v, list):
            return "[" + ", ".join(map(value, v)) + "]"
        return f'"{v}"' if isinstance(v, str) else f"{v:.6g}" if v != int(v) else str(int(v))

    def table(values: dict[str, Any]) -> str:
        return "{ " + ", ".join(f"{k} = {value(v)}" for k, v in values.items() if v is not None) + " }"

    lines = []
    for run in runs:
        lines.append("[[runs]]")
        for each in fields(run):
            if each.name not in ("settings", "stages"):
                lines.append(f"{each.name} = {value(getattr(run, each.name))}")
        lines.append(f"settings = {table(asdict(run.settings))}")
        lines += ["[runs.stages]", *(f'"{n}" = {table(asdict(m))}' for n, m in run.stages.items()), ""]
    return "\n".join(lines)


def run_of(work: str, cores: int | None = None) -> Run:
    """A finished work folder as a measured run: its manifests, its recipe, and the sizes of the files it read.

    A stage's core-seconds are its wall seconds times the cores of its engine, so idle cores are counted.

    Args:
        cores: of the cluster that made it, where the engine does not tell.

    Raises:
        LodeError: it is no work folder, no stage of it is finished, or what it read is gone.
    """
    work = storage.absolute(work)
    fs, inside = storage.filesystem(work)
    if not fs.isdir(inside):
        raise LodeError(f"{work}: there is no such work folder.")
    try:
        recipe = Recipe.model_validate(storage.read_json(storage.join(work, "recipe.json")))
    except ValidationError:
        raise LodeError(
            f"{work}: recipe.json is missing or of another version of Lode; name a folder that `lode run` finished."
        ) from None
    sizes = {
        posixpath.relpath(n, inside): about["size"] or 0 for n, about in fs.find(inside, detail=True).items()
    }
    manifests = read(work, {name: storage.join(work, name) for name in sizes}, [])
    found = {n: m for n, m in manifests.stages.items() if not is_stale_round(manifests, n)}
    if missing := {"pages", "quality"} - set(found) if recipe.web else {"files", "code_rules"} - set(found):
        raise LodeError(
            f"{work}: the stage {max(missing)!r} is not finished; let `lode run` finish it first."
        )
    web = sum(web_bytes(work, name, source, recipe.seed) for name, source in recipe.web.items())
    code = repository_bytes(recipe, found) if "files" in found else 0
    seeds = [
        m["rows_out"] for n, m in found.items() if n.startswith("mining/seeds/") and m["unit"] == "pages"
    ]
    settings = Settings.of(recipe, round(sum(seeds) / len(seeds)) if seeds else None)
    settings = replace(settings, rounds=len({round_number(name) for name in found} - {None}))
    seconds = {n: m["wall_seconds"] * (1 if model_of(n) in SERIAL else engine_cores(work, m, cores))
             for n, m in found.items()}  # fmt: skip
    files = [n for n in sizes if re.search(r"(^|/)mining/round-\d+/models/[^/]+\.bin$", n)]
    words = [sizes[n] / (4.0 * settings.dim) - settings.bucket for n in files] if settings.dim else []
    last = (found.get("mined", {}).get("rounds") or [{}])[-1]
    return Run(
        name=posixpath.basename(work),
        crawls=[work],
        pages=found["pages"]["rows_in"] if "pages" in found else 0,
        bytes=web,
        repositories=found["files"]["repositories"] if "files" in found else 0,
        repository_bytes=code,
        settings=settings,
        stages=measurements(found, seconds, sizes, web, code),
        words=sum(words) / len(words) if words else 0.0,
        pairs=dict_of(found.get("deduplicated", {}).get("deduplication")).get("pairs_compared", 0),
        collected=sum(dict_of(target).get("collected", 0) for target in dict_of(last).values()),
    )


def web_bytes(work: str, name: str, source: Source, seed: int) -> int:
    """Compressed bytes of the files that a web source was read from."""
    paths = [path for path in source.input if not is_installed(path)]
    files = storage.expand(paths) if paths else []
    if len(paths) < len(source.input):
        files += storage.expand([storage.join(work, "crawl", name, "*.warc.gz")])
    return sum(storage.size(path) for path in limited(files, source.limit, seed))


def repository_bytes(recipe: Recipe, found: dict[str, Any]) -> int:
    """Bytes of the archives, or of the files of folders, that repositories were read from."""
    total = 0
    for source in recipe.repositories.values():
        tables, others = places(source)
        paths = limited(repository_paths(others), source.limit, recipe.seed)
        if any(map(is_installed, paths)):
            return found["files"]["bytes"]  # of packages: what was read of them
        files = [file for path in tables for file in table_files(path)]
        total += sum(storage.size(file) for file in [*files, *(storage.expand(paths) if paths else [])])
    return total


def engine_cores(work: str, manifest: dict[str, Any], cores: int | None) -> int:
    """Cores of the engine that a manifest names."""
    local = re.search(r"\blocal(?:\[(\d+|\*)[^\]]*\])?$", manifest.get("engine") or "")
    if local and local.group(1) != "*":
        return int(local.group(1) or 1)
    if cores is None and not local and manifest.get("engine") != "python":
        raise LodeError(
            f"{work}: made on {manifest.get('engine')}, which does not say how many cores it had; "
            "give --measured-cores."
        )
    return cores or len(os.sched_getaffinity(0))


def model_of(stage: str) -> str:
    """The name in `MODELS` of a stage of a work folder: `mining/round-2/scores` is one of `mining/scores`."""
    if round_number(stage) is not None:
        return f"mining/{posixpath.basename(stage)}"
    return "mining/seeds" if stage.startswith("mining/seeds/") else stage


def measurements(
    found: dict[str, Any], seconds: dict[str, float], sizes: dict[str, int], web: int, code: int
) -> dict[str, Measurement]:
    """Each stage of `MODELS` that is among the manifests, the rounds of mining together."""
    disk: dict[str, float] = {}
    for name, size in sizes.items():
        folder = posixpath.dirname(name)
        while folder and folder not in found:
            folder = posixpath.dirname(folder)
        disk[folder] = disk.get(folder, 0) + size
    stages: dict[str, Measurement] = {}
    done: dict[str, Amounts] = {}

    def add(
        names: Iterable[str], into: str, rows: float, size: float, out: dict[str, Any] | None = None
    ) -> None:
        out = out or {}
        stages[into] = Measurement(
            rows, size, out.get("rows_out", 0), out.get("bytes", 0), out.get("tokens") or 0,
            core_seconds=sum(seconds[name] for name in names),
            disk_bytes=sum(disk.get(name, 0) for name in names),
        )  # fmt: skip
        done[into] = stages[into]

    for chain, first in ((WEB, web), (CODE, code)):
        rows, size, last = 0, first, None
        for name in (n for n in chain if n in found):
            if name == chain[0]:
                rows = found[name]["rows_in"] if chain is WEB else found[name]["repositories"]
            if name == "mined":
                for kind in MINING:
                    parts = [
                        n for n in found if model_of(n) == kind and (kind != "mining/seeds" or n in disk)
                    ]
                    add(parts, kind, rows, size)
            add([name], name, rows, size, found[name])
            rows, size, last = found[name]["rows_out"], found[name]["bytes"], name
        if last:
            done[chain[-1]] = stages[last]
    ends = [done[chain[-1]] for chain in (WEB, CODE) if chain[-1] in done]
    rows, size = sum(end.rows_out for end in ends), sum(end.bytes_out for end in ends)
    for name in (n for n in PACKING if n in found):
        add([name], name, rows, size, found[name])
    return stages
