"""A recipe as a chain of stages. Read `run_recipe` for the order of things."""

from corpus import installed, storage
from corpus.errors import LodeError
from corpus.tokens import TextTokenizer
from filters.personal_data import rules_of
from jobs import (
    code_quality,
    contamination,
    mine,
    model,
    pack,
    personal_data,
    repositories,
    repository_documents,
    web,
)
from jobs.deduplicate import deduplicate, file_languages
from jobs.engine import Stage, Work
from jobs.pack import Part
from jobs.recipe import Recipe, nearest
from jobs.repository_inputs import understood
from jobs.web import is_installed


class Reached(Exception):
    """The stage named by `--until` is done."""


def stage_names(recipe: Recipe) -> list[str]:
    """The stages of a recipe in order; a mining round's own stages are shown under `mined`."""
    names = []
    if recipe.web:
        names += ["pages", "quality", *(["mined"] if recipe.mine else [])]
        names += ["deduplicated"] if recipe.deduplicate else []
        names += ["decontaminated"] if recipe.decontaminate else []
    if recipe.repositories:
        names += ["files", "code_rules"]
        names += ["code_quality"] if recipe.code.quality else []
        names += ["code_deduplicated"]
        names += ["code_files_deduplicated"] if recipe.code.deduplicate.file_languages else []
        names += ["code_decontaminated"] if recipe.decontaminate else []
        names += ["personal_data"] if recipe.code.personal_data else []
        names += ["repositories"]
    names += ["tokenizer", "tokenized", "heldout", "shards"]
    return names + (["run", "evaluation", "run/hf"] if recipe.train else [])


def run_recipe(work: Work, recipe: Recipe, until: str | None = None) -> None:
    """Run every stage that is not done yet, up to and including `until`."""
    names = stage_names(recipe)
    if until is not None and until not in names:
        raise LodeError(f"--until {until}: this recipe has no such stage{nearest(until, names)}")
    check_inputs(recipe)
    work.progress.plan(names[: names.index(until) + 1] if until else names)

    def done(stage: Stage, name: str) -> Stage:
        if name == until:
            raise Reached
        return stage

    try:
        parts = web_stages(work, recipe, done) if recipe.web else []
        parts += code_stages(work, recipe, done) if recipe.repositories else []
        tokens = done(pack.tokenizer(work, parts, recipe.tokenizer, recipe.seed), "tokenizer")
        windows = done(pack.tokenized(work, parts, tokens, recipe.pack, recipe.fim), "tokenized")
        heldout = done(pack.heldout(work, windows, tokens, recipe.pack, recipe.seed), "heldout")
        shards = pack.shards(
            work, windows, heldout, tokens, recipe.mixture, recipe.fim, recipe.pack, recipe.seed
        )
        done(shards, "shards")
        if recipe.train:
            config = recipe.training(shards.manifest["shards"]["vocabulary_size"])
            run = done(model.train(work, shards, heldout, config), "run")
            done(model.evaluation(work, run, heldout, tokens), "evaluation")
            done(model.export(work, run, tokens), "run/hf")
    except Reached:
        pass


def check_inputs(recipe: Recipe) -> None:
    """Open every file that a later stage will ask for, so that a mistyped path is known now and not in hours."""
    paths = [path for source in recipe.web.values() for path in source.input]
    paths += [
        path for target in (recipe.mine.targets.values() if recipe.mine else ()) for path in target.seeds
    ]
    for path in paths:
        if is_installed(path):
            installed.resolve(path)
        else:
            storage.expand([path])
    for source in recipe.repositories.values():
        understood(source)
    if recipe.repositories:
        repositories.licence_policy(recipe.code.licences)
    if recipe.repositories and recipe.code.quality:
        code_quality.screening(recipe.code.quality)
    if recipe.repositories and recipe.code.personal_data:
        rules_of(recipe.code.personal_data.rules)
    if recipe.decontaminate:
        contamination.benchmark_index(recipe.decontaminate)
    if recipe.tokenizer.path:
        pack.check_sentinels(TextTokenizer.load(recipe.tokenizer.path), recipe.fim)
    if recipe.train and recipe.train.start_from:
        from pretrain.load import shape_of  # loads torch

        shape_of(recipe.train.start_from)


def web_stages(work: Work, recipe: Recipe, done) -> list[Part]:
    stage = done(web.pages(work, recipe.web, recipe.seed, section=recipe.pages), "pages")
    stage = done(web.quality(work, stage, recipe.quality), "quality")
    if recipe.mine:
        stage = done(mine.mine(work, stage, recipe.mine, recipe.seed), "mined")
    if section := recipe.deduplicate:
        stage = done(deduplicate(work, "deduplicated", stage, section, recipe.seed), "deduplicated")
    if recipe.decontaminate:
        stage = contamination.decontaminate(work, "decontaminated", stage, recipe.decontaminate, "pages")
        done(stage, "decontaminated")
    return [Part(stage, None)]


def code_stages(work: Work, recipe: Recipe, done) -> list[Part]:
    section = recipe.code
    way: list[Stage] = []

    def step(stage: Stage, name: str) -> Stage:
        way.append(stage)
        return done(stage, name)

    stage = step(repositories.files(work, recipe.repositories, recipe.seed), "files")
    stage = step(repositories.code_rules(work, stage, section), "code_rules")
    if section.quality:
        stage = step(code_quality.code_quality(work, stage, section.quality), "code_quality")
    stage = deduplicate(work, "code_deduplicated", stage, section.deduplicate, recipe.seed, "repository")
    step(stage, "code_deduplicated")
    if languages := file_languages(section.deduplicate):
        # Earlier corpora are compared by repository.
        alone = section.deduplicate.model_copy(update={"against": []})
        name = "code_files_deduplicated"
        stage = step(deduplicate(work, name, stage, alone, recipe.seed, languages=languages), name)
    if recipe.decontaminate:
        stage = contamination.decontaminate(work, "code_decontaminated", stage, recipe.decontaminate, "files")
        step(stage, "code_decontaminated")
    if section.personal_data:
        stage = step(personal_data.personal_data(work, stage, section.personal_data), "personal_data")
    window = pack.window_tokens(recipe.pack, recipe.fim)
    stage = repository_documents.repositories(
        work, stage, section, recipe.seed, way=tuple(way), tokenizer=recipe.tokenizer.path, window=window
    )
    return [Part(done(stage, "repositories"), None)]
