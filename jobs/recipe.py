"""A recipe: one TOML file that says what goes in, what each stage does, and what is trained on the result."""

import difflib
import pathlib
import re
import tomllib
from collections.abc import Sequence
from importlib import resources
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from corpus import opt_out
from corpus.errors import LodeError
from corpus.extract import Extraction
from corpus.mixture import MOST_EPOCHS
from corpus.ngrams import Profile
from corpus.warc import SPLIT_BYTES
from filters.code_rules import rule_set
from filters.licences import allowed_ids
from filters.prose import Prose
from filters.quality import Profile as QualityProfile
from filters.quality import Quality
from filters.url_lists import Lists
from pretrain.config import ModelConfig, TrainingConfig
from pretrain.presets import model_preset

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


def known_signal(signal: str) -> str:
    """`signal`, or ValueError where no page can have it (see `corpus.opt_out`)."""
    if signal.rpartition(":")[2] not in opt_out.KNOWN:
        raise ValueError(f"there is no signal {signal!r}{nearest(signal, sorted(opt_out.KNOWN))}")
    return signal


def _language_code(code: str) -> str:
    if not re.fullmatch("[a-z]{2}", code):
        raise ValueError(f"{code!r} is not a code of ISO 639-1, two letters such as 'en' or 'zh'")
    return code


Signal = Annotated[str, AfterValidator(known_signal)]
LanguageCode = Annotated[str, AfterValidator(_language_code)]
# Names become folders and columns.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class Section(BaseModel):
    """A table of a recipe; a key it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


SectionKind = TypeVar("SectionKind", bound=Section)


class Source(Section):
    """Where documents come from.

    `web` reads WARC, WET and HTML files, `repositories` reads archives, folders, git repositories and Parquet tables of
    files; see docs/repositories.md. `installed:*` is the documentation (or the source) of the packages installed on
    this machine.
    """

    kind: Literal["web", "repositories"]
    input: Annotated[list[str], Field(min_length=1)]
    limit: Count | None = (
        None  # of the files (or repositories) found take this many, by a hash of their names
    )
    crawl_files: Count = 16  # WARC files that `installed:` documentation is written to
    revision: str = "HEAD"  # branch, tag or commit at which git repositories are read
    about: str | None = None  # a list of repositories: stars, forks, licence, last change, revision
    columns: dict[str, str] = {}  # of tables of files in a layout of their own, such as text = "content"

    @model_validator(mode="after")
    def _kind_has_these(self) -> "Source":
        for name in ("revision", "about", "columns"):
            if self.kind == "web" and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name!r} is for sources of kind `repositories`")
        return self


class PagesSection(Section):
    """What becomes of the files of a crawl; see docs/crawl.md."""

    drop_opt_out: list[Signal] = []  # pages whose publisher asks for this are dropped, such as "noai"
    expand_macros: bool = False  # write out the TeX macros that a page defines
    split_bytes: Count = SPLIT_BYTES  # larger files are read in such parts where their container allows it

    @property
    def extraction(self) -> Extraction:
        return Extraction(tuple(self.drop_opt_out), self.expand_macros)


class QualitySection(Section):
    """Which pages stay; see docs/quality.md. The shares belong to the profiles `mathematics` and `code`."""

    profile: QualityProfile = "mathematics"
    languages: list[LanguageCode] = []
    min_language_score: Share = 0.0
    min_chars: int = 200
    max_chars: int = 1_000_000
    min_letters: Share = 0.25
    max_repeated_lines: Share = 0.4
    max_top_word: Share = 0.3
    prose: Prose = Prose()
    blocked_domains: list[str] = []  # paths of lists
    blocked_urls: list[str] = []
    blocked_words: list[str] = []

    @model_validator(mode="after")
    def _leaves_room(self) -> "QualitySection":
        if self.min_chars > self.max_chars:
            raise ValueError(f"min_chars ({self.min_chars}) is more than max_chars ({self.max_chars})")
        return self

    @property
    def rules(self) -> Quality:
        lists = Lists(tuple(self.blocked_domains), tuple(self.blocked_urls), tuple(self.blocked_words))
        blocked = {"blocked_domains", "blocked_urls", "blocked_words"}
        values = {name: getattr(self, name) for name in type(self).model_fields if name not in blocked}
        return Quality(**{**values, "languages": tuple(self.languages)}, lists=lists)


class Classifier(Section):
    dim: Count = 256
    lr: Annotated[float, Field(gt=0)] = 0.1
    word_ngrams: Count = 3
    min_count: Count = 3
    epoch: Count = 3
    bucket: Count = 2_000_000
    passes: Count = 20_000
    tokenizer: str | None = None  # a tokenizer.json: BPE for scripts without spaces between words


class Target(Section):
    """What to mine for: `seeds` are WARC or HTML files, `installed:` documentation, or Parquet of documents."""

    seeds: Annotated[list[str], Field(min_length=1)]
    accept: list[str] = []  # path prefixes that a person accepted, such as `site.org/questions`
    reject: list[str] = []


class Rest(Section):
    """Pages that no target collects: a random share of them stays, as general text under this name."""

    name: Name
    share: Share


class MineSection(Section):
    """The loop of DeepSeekMath: train, score, keep, widen by domain and path, until nothing new turns up."""

    targets: Annotated[dict[Name, Target], Field(min_length=1)]
    annotations: str | None = None  # a file of decisions on paths: docs/mining.md
    max_rounds: Count = 12
    stop_share: Share = 0.98  # stop when this share of a round's pages was collected before
    keep: Literal["score", "tokens", "precision"] = "score"
    min_score: Annotated[float, Field(gt=0, lt=1)] = (
        0.5  # keep = "score": the least evidence, as a probability
    )
    budget_tokens: Count | None = None  # keep = "tokens": what a round collects at most, best first
    precision: Share = 0.9  # keep = "precision": as estimated from held-out positives
    growth: Annotated[float, Field(gt=1)] = (
        3.0  # a round collects at most so many times what is known, or was before
    )
    held_out: Share = 0.1
    max_examples: Count = 500_000  # of each kind
    domain_share: Share = 0.1  # the paper's 10 % rule
    path_share: Share = 0.66
    min_pages: Count = 5
    widen: Literal["statistics", "annotations"] = "statistics"  # who accepts paths
    evidence: Literal["path", "domain", "page"] = "path"  # how far down the address neighbours count
    classifier: Classifier = Classifier()
    rest: Rest | None = None

    @model_validator(mode="after")
    def budget_is_there(self) -> "MineSection":
        if (self.keep == "tokens") != (self.budget_tokens is not None):
            raise ValueError('budget_tokens goes with keep = "tokens"')
        return self


class DeduplicateSection(Section):
    """Which documents are one another's duplicates, and which of them stays; see docs/duplicates.md."""

    jaccard: Annotated[float, Field(gt=0, le=1)] = 0.8
    profile: Profile = "math"
    ngram: Annotated[int, Field(ge=1, le=1000)] = 5
    permutations: Annotated[int, Field(ge=16, le=4096)] = 128
    bands: Count | None = None  # without them the bands and rows that suit `jaccard`
    rows: Count | None = None
    verify: bool = True  # compare the shingles of candidates; without it, every candidate is a duplicate
    keep: str = "longest"  # or score, earliest, most_starred, or an SQL ordering of the documents' columns
    repeated_lines: Annotated[int, Field(ge=2)] | None = (
        None  # lines of so many documents are boilerplate and go
    )
    against: list[str] = []  # folders of earlier deduplications
    earlier: Literal["drop", "report"] = "drop"  # what becomes of a document that is in an earlier corpus

    @model_validator(mode="after")
    def _bands_and_rows(self) -> "DeduplicateSection":
        if (self.bands is None) != (self.rows is None):
            raise ValueError("give both `bands` and `rows`, or neither")
        if self.bands and self.rows and self.bands * self.rows > 4096:
            raise ValueError(f"{self.bands} bands of {self.rows} rows are more than 4096 permutations")
        return self


class CodeDeduplicateSection(DeduplicateSection):
    """The same for repositories as wholes."""

    profile: Profile = "code"
    keep: str = "best_known"  # most stars and forks, then the newest, then the longest
    containment: Share = (
        0.75  # a repository goes if so much of it is in another one; 0: this is not looked for
    )
    # Languages whose files are compared one by one as well, so that a repository may lose some of them; `unordered`:
    # those of which no dependencies are known.
    file_languages: list[str] | Literal["unordered"] = []

    @model_validator(mode="after")
    def _whole_files(self) -> "CodeDeduplicateSection":
        if self.repeated_lines:
            raise ValueError("`repeated_lines` is for pages; files of repositories stay as they are")
        return self


class DecontaminateSection(Section):
    """Which evaluation sets no document may contain; see docs/decontamination.md."""

    benchmarks: Annotated[list[str], Field(min_length=1)]
    fields: list[str] = []  # the columns that hold texts; without them those of each set's layout


def _licence_policy(allow: str | list[str]) -> str | list[str]:
    try:
        allowed_ids(allow)
    except LodeError as error:
        raise ValueError(str(error).removeprefix("code.licences.allow: ").rstrip(".")) from None
    return allow


class LicencesSection(Section):
    """Which files may be used; see docs/repositories.md."""

    allow: Annotated[str | list[str], AfterValidator(_licence_policy)] = "any"
    opt_out: list[str] = []  # paths of lists: owner/repository, owner or address a line


class WholeSection(Section):
    """What becomes of files whose dependencies were dropped; see docs/repositories.md."""

    lost: Literal["ignore", "stub", "drop_file", "drop_repository"] = "ignore"
    max_lost_share: Share = 0.3  # of the dependencies of a file, or of a repository, before it goes


class QualityCodeSection(Section):
    """Screening of source files; see docs/repositories.md."""

    syntax: bool = True
    heuristics: bool = True
    python2: Literal["drop", "keep"] = "drop"
    limits: str | None = None  # a TOML file of one's own over filters/code_quality.toml
    classifier: str | None = None  # a scorer of `lode classify train`
    min_score: Share = 0.0
    min_scores: dict[str, Share] = {}  # by language

    @model_validator(mode="after")
    def _scores_have_a_classifier(self) -> "QualityCodeSection":
        if self.classifier is None and (self.min_score or self.min_scores):
            raise ValueError("`min_score` and `min_scores` need a `classifier`")
        return self


class PersonalDataSection(Section):
    """What is replaced in source files; see docs/repositories.md."""

    rules: str | None = None  # a TOML file of one's own over filters/personal_data.toml


def _known_rules(name: str) -> str:
    rule_set(name)
    return name


class CodeSection(Section):
    # A set of filters/code_rules.toml, or the path of a .toml file of rules.
    rules: Annotated[str, AfterValidator(_known_rules)] = "deepseek-coder"
    licences: LicencesSection = LicencesSection()
    quality: QualityCodeSection | None = None
    deduplicate: CodeDeduplicateSection = CodeDeduplicateSection()
    personal_data: PersonalDataSection | None = None
    whole: WholeSection = WholeSection()
    order: Literal["topological", "dependency", "path", "random", "clustered"] = "dependency"
    # What of a repository is trained on as one: all of it, each connected part, or windows of a context's length.
    samples: Literal["repository", "component", "window"] = "repository"
    window: Annotated[int, Field(ge=16)] | None = None  # tokens; as many as fit in a packed sequence
    skeletons: bool = False
    max_chars: Count = 64_000_000

    @model_validator(mode="after")
    def _clustered_windows(self) -> "CodeSection":
        if self.samples != "window" and (self.order == "clustered" or self.skeletons or self.window):
            raise ValueError('`order = "clustered"`, `window` and `skeletons` need `samples = "window"`')
        return self


class TokenizerSection(Section):
    """`path` of a tokenizer.json, or the size of a vocabulary to train."""

    path: str | None = None
    vocabulary_size: Count | None = None
    sample_chars: Count = 100_000_000

    @model_validator(mode="after")
    def _one_of_two(self) -> "TokenizerSection":
        if (self.path is None) == (self.vocabulary_size is None):
            raise ValueError("give either `path` or `vocabulary_size`")
        return self


class MixtureSection(Section):
    """Which share of the tokens each source has, and how much there is in all; see docs/packing.md."""

    weights: Annotated[dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]], Field(min_length=1)]
    max_epochs: Annotated[float, Field(gt=0, le=MOST_EPOCHS)] = 4
    tokens: Count | None = None

    @model_validator(mode="after")
    def _has_something(self) -> "MixtureSection":
        if not any(self.weights.values()):
            raise ValueError("weights: all of them are 0, so there is nothing to pack")
        return self


class FimSection(Section):
    """Fill-in-the-middle; see docs/packing.md."""

    rate: dict[str, Share] = {}  # per source of the mixture
    spm_rate: Share = 0.0  # of what is cut, in suffix-prefix-middle order
    level: Literal["document", "file"] = "document"
    syntax_rate: Share = 0.0  # of what is cut, with a whole syntax node as its middle


class PackSection(Section):
    sequence_length: Annotated[int, Field(ge=16)] = 4096
    packing: Literal["concat", "best_fit"] = "concat"
    split_newlines: Share = 0.0  # of the tokens that join punctuation and line breaks
    held_out_tokens: Annotated[int, Field(ge=0)] = 50_000  # of each source
    tokens_per_part: Count = 64_000_000


class TrainSection(Section):
    """`preset` names the shape (see `pretrain/presets.py`), or `start_from` brings its own; `model` changes it; the
    rest is `TrainingConfig`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    preset: str | None = None
    start_from: str | None = None  # a run, a checkpoint or a Hugging Face folder whose weights to begin with
    model: dict[str, Any] = {}

    @model_validator(mode="after")
    def _has_a_shape(self) -> "TrainSection":
        if self.preset is None and self.start_from is None:
            raise ValueError("name a shape with `preset`, or a model to go on with as `start_from`")
        return self


class Recipe(Section):
    name: str
    seed: Annotated[int, Field(ge=0)] = 0
    sources: Annotated[dict[Name, Source], Field(min_length=1)]
    pages: PagesSection = PagesSection()
    quality: QualitySection = QualitySection()
    mine: MineSection | None = None
    deduplicate: DeduplicateSection | None = None
    decontaminate: DecontaminateSection | None = None
    code: CodeSection = CodeSection()
    tokenizer: TokenizerSection
    mixture: MixtureSection
    fim: FimSection = FimSection()
    pack: PackSection = PackSection()
    train: TrainSection | None = None
    spark: dict[str, str] = {}  # settings of the Spark session

    @property
    def web(self) -> dict[str, Source]:
        return {name: source for name, source in self.sources.items() if source.kind == "web"}

    @property
    def repositories(self) -> dict[str, Source]:
        return {name: source for name, source in self.sources.items() if source.kind == "repositories"}

    @property
    def parts(self) -> list[str]:
        """What can be mixed: the targets mined from the web (or its sources, unmined) and the repositories."""
        web = list(self.mine.targets) if self.mine else list(self.web)
        web += [self.mine.rest.name] if self.mine and self.mine.rest else []
        return web + list(self.repositories)

    @model_validator(mode="after")
    def _names_agree(self) -> "Recipe":
        if len(set(self.parts)) < len(self.parts):
            twice = next(name for name in self.parts if self.parts.count(name) > 1)
            raise ValueError(f"two sources of the mixture are called {twice!r}; rename one")
        for table, names in (("mixture.weights", self.mixture.weights), ("fim.rate", self.fim.rate)):
            for name in names:
                if name not in self.parts:
                    raise ValueError(f"{table}.{name}: there is no such source{nearest(name, self.parts)}")
        for name in self.fim.rate:
            if name not in self.mixture.weights:
                raise ValueError(
                    f"fim.rate.{name}: mixture.weights has no such source, so nothing of it is packed"
                )
        if self.mine and not self.web:
            raise ValueError("mine: there is no source of kind `web` to mine")
        return self

    def training(self, vocabulary_size: int | None = None) -> TrainingConfig:
        """The run that `[train]` describes, for a tokenizer of this size. Without a size the settings are checked, and
        a model to go on with need not be there."""
        assert self.train is not None
        if self.train.preset:
            shape = model_preset(self.train.preset, vocab_size=vocabulary_size or 1024)
        elif vocabulary_size is None:
            shape = model_preset("tiny", max_position_embeddings=2**40)
        else:
            from pretrain.load import shape_of  # loads torch

            shape = shape_of(str(self.train.start_from))
        settings = {"sequence_length": self.pack.sequence_length, "seed": self.seed}
        settings |= {"start_from": self.train.start_from, **(self.train.model_extra or {})}
        model = shape.model_dump()
        changed = {
            name: {**(model.get(name) or {}), **value} if isinstance(value, dict) else value
            for name, value in self.train.model.items()  # `yarn` keeps what is not named
        }
        return TrainingConfig.model_validate(settings | {"model": model | changed})


def section_of(kind: type[SectionKind], /, **values: Any) -> SectionKind:
    """A section from options of a command line; a wrong one is a sentence."""
    try:
        return kind(**values)
    except ValidationError as error:
        fault = error.errors()[0]
        option = "".join(f"--{str(step).replace('_', '-')}: " for step in fault["loc"][:1])
        raise LodeError(f"{option}{fault['msg'].removeprefix('Value error, ')}.") from None


def nearest(word: str, valid: list[str]) -> str:
    """`; did you mean x?`, or what is valid where nothing is near."""
    near = difflib.get_close_matches(word, valid, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; valid are {', '.join(map(repr, valid))}." if valid else "."


def recipe_names() -> list[str]:
    return sorted(
        f.name.removesuffix(".toml") for f in resources.files("recipes").iterdir() if f.name.endswith(".toml")
    )


def load_recipe(name: str, changes: Sequence[str] = ()) -> Recipe:
    """A recipe by its path, or by the name of one that comes with Lode, with `key=value` changes applied.

    Raises:
        LodeError: naming the file, the line and the key, and the nearest valid one.
    """
    path = pathlib.Path(name)
    if path.is_file():
        where = str(path)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise LodeError(f"{path}: a recipe is UTF-8 text; byte {error.start} is not.") from None
    elif name in recipe_names():  # also where a run of it has left a folder of this name
        where = f"{name}.toml"
        text = (resources.files("recipes") / where).read_text(encoding="utf-8")
    elif path.is_dir():
        raise LodeError(f"{name}: this is a folder; a recipe is a TOML file.")
    else:
        what = nearest(path.stem, recipe_names())
        raise LodeError(f"{name}: there is no such file, and no recipe of this name comes with Lode{what}")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LodeError(f"{where}: not valid TOML: {error}") from None
    for change in changes:
        apply_change(table, change)
    try:
        recipe = Recipe.model_validate(table)
        if recipe.train:
            recipe.training()
    except ValidationError as error:
        raise LodeError(explain(error, text, where)) from None
    except (ValueError, LodeError) as error:
        raise LodeError(f"{where}: {error}") from None
    return recipe


def apply_change(table: dict[str, Any], change: str) -> None:
    """`pack.sequence_length=512`: the value is TOML, or a bare string where it is not."""
    key, equals, value = change.partition("=")
    if not equals or not key.strip():
        raise LodeError(f"--set {change}: expected key=value, such as pack.sequence_length=512.")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    # Names of Spark's own settings contain dots, and their values are strings.
    if key.startswith("spark."):
        parsed = value.strip().strip("'\"")
    names = ["spark", key[6:]] if key.startswith("spark.") else key.strip().split(".")
    for name in names[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise LodeError(f"--set {change}: {name!r} is not a table of the recipe.")
    table[names[-1]] = parsed


def explain(error: ValidationError, text: str, where: str) -> str:
    """The first fault of a recipe as one sentence with its line."""
    # A mistyped key is also a missing one; the first is what its author wants to hear.
    fault = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    title = error.title
    path = [str(step) for step in fault["loc"] if step != "function-after"]
    if title == "TrainingConfig":
        path = ["train", *path]
    key = ".".join(path)
    line = line_of(path, text)
    place = f"{where}, line {line}" if line else where
    if fault["type"] == "extra_forbidden":
        valid = keys_beside(path)
        return f"{place}: unknown key {key!r}{nearest(path[-1], valid)}"
    if fault["type"] == "missing":
        return f"{place}: the key {key!r} is missing."
    message = fault["msg"].removeprefix("Value error, ")
    if not key:
        return f"{place}: {message}"
    given = fault.get("input")
    is_told = repr(given) in message or not isinstance(given, (str, int, float, bool))
    shown = "" if is_told else f" (it is {given!r})"
    end = "" if message.endswith(("?", ".")) and not shown else "."
    return f"{place}: {key!r}: {message[0].lower()}{message[1:]}{shown}{end}"


def keys_beside(path: list[str]) -> list[str]:
    """The keys that are valid in the table where `path` stands."""
    if path[0] == "train" and len(path) > 1:
        model = ModelConfig if path[1] == "model" else TrainingConfig
        return [*model.model_fields, *(["preset"] if model is TrainingConfig else [])]
    here: Any = Recipe
    for step in path[:-1]:
        if isinstance(here, type) and issubclass(here, BaseModel):
            here = here.model_fields[step].annotation
            tables = [kind for kind in inside(here) if kind is dict or is_section(kind)]
            here = here if dict in tables else tables[0]
        else:  # a table of tables: the step is a name that the recipe chose
            here = next(kind for kind in inside(here) if is_section(kind))
    return list(here.model_fields)


def inside(kind: Any) -> list[Any]:
    """A type and all types it is made of."""
    return [
        kind,
        *filter(None, [get_origin(kind)]),
        *(t for argument in get_args(kind) for t in inside(argument)),
    ]


def is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def line_of(path: list[str], text: str) -> int | None:
    """The line of a TOML file on which the key at `path`, or the nearest table around it, is written."""
    best, depth = None, 0
    table: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line):
            table = [part.strip().strip("\"'") for part in header.group(1).split(".")]
            here = table
        elif assignment := re.match(r"\s*([\w.\"'-]+)\s*=", line):
            here = table + [part.strip("\"'") for part in assignment.group(1).split(".")]
        else:
            continue
        common = 0
        while common < min(len(here), len(path)) and here[common] == path[common]:
            common += 1
        if common == len(here) and common > depth:
            best, depth = number, common
    return best
