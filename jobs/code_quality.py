"""The optional stage `code_quality`: syntax, readability and a learned score of each file that the rules left."""

import shutil
from dataclasses import replace

from corpus import storage
from corpus.errors import LodeError
from filters.classifier import Classifier, on_this_host
from filters.code_quality import CodeQuality, limits_of
from jobs.engine import Account, Stage, Work, fingerprint_files
from jobs.recipe import QualityCodeSection
from jobs.worker import Task

ROOMS = ("filters/code_quality.py", "filters/code_quality.toml", "filters/syntax.py", "corpus/trees.py")
ROOMS += ("corpus/guarded.py", "corpus/languages.py", "corpus/languages.toml", "corpus/linguist.json")
ROOMS += ("filters/classifier.py", "filters/normaliser.py", "filters/scorer.py")


def screening(section: QualityCodeSection) -> CodeQuality:
    """What the section asks for; `LodeError` where a file that it names is not there or not what it should be."""
    mark = ""
    if section.classifier:
        if not storage.exists(section.classifier):
            raise LodeError(f"code.quality.classifier: there is no file {section.classifier}.")
        mark = fingerprint_files([section.classifier])
        Classifier(section.classifier, mark=mark)
    return CodeQuality(
        limits=limits_of(section.limits),
        syntax=section.syntax,
        heuristics=section.heuristics,
        python2=section.python2 == "keep",
        classifier=section.classifier,
        mark=mark,
        min_score=section.min_score,
        min_scores=section.min_scores,
    )


def code_quality(work: Work, before: Stage, section: QualityCodeSection) -> Stage:
    rules = screening(section)

    def build(folder: str) -> Account:
        tasks = [Task(part, (path,)) for part, path in enumerate(before.parts)]
        scratch, ready = storage.join(folder, "_scratch"), rules
        if rules.classifier:  # where every machine finds it
            copy = storage.join(scratch, "quality.safetensors")
            scorer = on_this_host(rules.classifier, mark=rules.mark)
            with open(scorer, "rb") as source, storage.atomic_write(copy) as target:
                shutil.copyfileobj(source, target)
            ready = replace(rules, classifier=copy)
        counts = work.map_parts(folder, tasks, rules.schema(before.schema), ready, unit="files")
        storage.remove(scratch)
        return Account(counts, "files")

    # What a file of limits says counts, not its name.
    parameters = section.model_dump(mode="json", exclude={"limits", "classifier"}) | {"limits": rules.limits}
    marks = {"files": before.fingerprint} | ({"classifier": rules.mark} if rules.mark else {})
    return work.stage("code_quality", (*ROOMS, "jobs/code_quality.py"), parameters, marks, build)
