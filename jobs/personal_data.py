"""The optional stage `personal_data`: e-mail and IP addresses, keys and passwords of source files, replaced."""

from collections import Counter

from corpus import storage
from filters.personal_data import PersonalData, rules_of
from jobs.engine import Account, Stage, Work
from jobs.recipe import PersonalDataSection
from jobs.worker import Task

ROOMS = ("filters/personal_data.py", "filters/personal_data.toml", "jobs/personal_data.py")


def personal_data(work: Work, before: Stage, section: PersonalDataSection) -> Stage:
    """Files with what is personal or secret in them replaced; those that are little else are dropped.

    The manifest's `personal_data` says how many spans of each kind were replaced in the files that stay, and
    `files_changed` in how many of them.
    """
    rules = rules_of(section.rules)
    replace = PersonalData(rules)

    def build(folder: str) -> Account:
        tasks = [Task(part, (path,)) for part, path in enumerate(before.parts)]
        counts = work.map_parts(folder, tasks, replace.schema(before.schema), replace, unit="files")
        return Account(counts, "files", totals(folder))

    # What a file of rules says counts, not its name.
    return work.stage("personal_data", ROOMS, {"rules": rules}, {"files": before.fingerprint}, build)


def totals(folder: str) -> dict[str, int | dict[str, int]]:
    found: Counter[str] = Counter()
    changed = 0
    for path in storage.parquet_parts(storage.join(folder, "part-*.parquet")):
        for batch in storage.read_parquet(path, ["personal_data"], 1 << 16):
            for kinds in filter(None, batch["personal_data"].to_pylist()):
                changed += 1
                found.update({kind["kind"]: kind["count"] for kind in kinds})
    return {"files_changed": changed, "personal_data": dict(sorted(found.items()))}
