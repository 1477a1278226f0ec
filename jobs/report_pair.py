"""Two work folders to ask side by side, and the tables and differences that the comparison is written in."""

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from corpus import storage
from corpus.inspect import literal
from corpus.manifests import dict_of
from corpus.saved import save
from jobs.charts import cut, visible
from jobs.report_facts import Facts, shards_stage

ROWS = 30  # of a table
MEMORY = "2GB"  # of a connection; what needs more goes through the disk
# What a mining round learnt from the one before stands among its parameters, and is no setting.
LEARNT = re.compile(r"^(rules|before)\..*\.(learnt|cut)$")
MARK = re.compile(r"[0-9a-f]{32,}")

Change = tuple[str, Any, Any]  # a setting or an input: its name, in A, in B; None where it is not there


@dataclass
class Cause:
    """Why a stage is another one than in A: by itself (settings, code, what it reads) or through stages before it."""

    only: str | None = None  # "A" or "B", where the other has no such stage
    settings: list[Change] = field(default_factory=list)
    code: tuple[str, str] | None = None
    read: list[Change] = field(default_factory=list)  # inputs that no stage made
    through: list[str] = field(default_factory=list)  # stages that it is made from, and that changed

    @property
    def itself(self) -> bool:
        return bool(self.only or self.settings or self.code or self.read)


class Pair:
    """Folders A and B: each by itself as `Facts`, and one connection in which B's views are in the schema `b.main`."""

    def __init__(self, a: str, b: str, scratch: str):
        self.a, self.b = Facts(a), Facts(b)
        place = storage.join(scratch, "b.duckdb")
        save(self.b.connection, place)
        connection = self.a.connection
        if not storage.is_local(b):
            fs, _ = storage.filesystem(b)
            names = [fs.protocol] if isinstance(fs.protocol, str) else list(fs.protocol)
            if not any(connection.filesystem_is_registered(name) for name in names):
                connection.register_filesystem(fs)
        connection.execute(f"ATTACH {literal(place)} AS b (READ_ONLY)")
        for side in (self.a.connection, self.b.connection):
            side.execute(f"SET temp_directory = {literal(scratch)}")
            side.execute(f"SET memory_limit = {literal(MEMORY)}")
            side.execute("SET preserve_insertion_order = false")
        # A stage that a stopped run left behind: made of what its folder has no more, and the other folder has.
        marks = [{row["fingerprint"] for row in facts.stages.values()} for facts in self.both]
        self.stale = [
            [
                name
                for name, manifest in facts.manifests.items()
                if any(
                    mark in marks[1 - side] - marks[side] for mark in dict_of(manifest.get("inputs")).values()
                )
            ]
            for side, facts in enumerate(self.both)
        ]
        order = [*self.a.stages, *(name for name in self.b.stages if name not in self.a.stages)]
        self.causes: dict[str, Cause] = {}  # of the stages that changed, in order
        for name in order:
            if cause := cause_of(self.a, self.b, name):
                self.causes[name] = cause
        self.stages = order

        mixed = [
            next((name for name, m in facts.manifests.items() if isinstance(m.get("mixture"), dict)), None)
            for facts in self.both
        ]
        # The shards to train on; held-out ones stand for them where neither folder names a mixture.
        self.shards = mixed if any(mixed) else [shards_stage(facts) for facts in self.both]

    @property
    def both(self) -> tuple[Facts, Facts]:
        return self.a, self.b

    def rows(self, sql: str) -> list[dict[str, Any]]:
        return self.a.rows(sql)

    def execute(self, sql: str) -> None:
        self.a.rows(sql)

    def sources(self, stage: str) -> list[str]:
        """The stages that changed by themselves and that a stage's change goes back to."""
        seen, found, waiting = {stage}, [], list(self.causes[stage].through) if stage in self.causes else []
        while waiting:
            name = waiting.pop(0)
            if name not in seen and name in self.causes:
                seen.add(name)
                if self.causes[name].itself:
                    found.append(name)
                waiting += self.causes[name].through
        return [name for name in self.stages if name in found]

    def why(self, stage: str) -> str:
        """`changed itself: min_chars 200 → 800`, or `changed by its input: quality`."""
        cause = self.causes.get(stage)
        if cause is None:
            return "unchanged" if stage in self.stages else ""
        if cause.only:
            return f"only in {cause.only}"
        own = [f"{name} {brief(old)} → {brief(new)}" for name, old, new in cause.settings[:4]]
        if len(cause.settings) > 4:
            own.append(f"{len(cause.settings) - 4} more settings")
        if cause.read:
            own.append("what it reads (" + ", ".join(cut(name, 40) for name, _, _ in cause.read[:3]) + ")")
        if cause.code:
            own.append("its code")
        said = ["changed itself: " + ", ".join(own)] if own else []
        if cause.through:
            said.append(
                ("by its input: " if own else "changed by its input: ") + few(rounds_as_one(cause.through))
            )
            beyond = rounds_as_one([name for name in self.sources(stage) if name not in cause.through])
            if beyond and not own:
                said[-1] += f" (which goes back to {few(beyond)})"
        return "; ".join(said) or "changed: another run of the same"


def rounds_as_one(stages: list[str]) -> list[str]:
    """Names of stages, those inside the mining loop as one."""
    return list(dict.fromkeys("the mining rounds" if name.startswith("mining/") else name for name in stages))


def few(names: list[str], most: int = 4) -> str:
    names = [cut(name, 60) for name in dict.fromkeys(names)]
    return (", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")) or "–"


def cause_of(a: Facts, b: Facts, stage: str) -> Cause | None:
    """None for a stage that is the same in both."""
    if stage not in a.stages or stage not in b.stages:
        return Cause(only="A" if stage in a.stages else "B")
    old, new = a.manifests[stage], b.manifests[stage]
    if a.stages[stage]["fingerprint"] == b.stages[stage]["fingerprint"]:
        return None
    cause = Cause(
        settings=changes(flat(dict_of(old.get("parameters"))), flat(dict_of(new.get("parameters"))))
    )
    if a.stages[stage]["code"] != b.stages[stage]["code"]:
        cause.code = (a.stages[stage]["code"] or "", b.stages[stage]["code"] or "")
    made = [{row["fingerprint"]: name for name, row in facts.stages.items()} for facts in (a, b)]
    for name, before, after in changes(dict_of(old.get("inputs")), dict_of(new.get("inputs"))):
        by = made[1].get(after) or made[0].get(before)
        if by is None:
            cause.read.append((name, before, after))
        elif by not in cause.through:
            cause.through.append(by)
    return cause


# Settings


def flat(value: Any) -> dict[str, Any]:
    """The leaves of nested settings by their path, `mine.classifier.dim`; those of rules by their target."""
    return {name: leaf for name, leaf in leaves(value, "") if not LEARNT.search(name)}


def leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        value = {str(one.get("target", place)): one for place, one in enumerate(value)}
    if isinstance(value, dict) and value and path.count(".") < 40:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    names = [*old, *(name for name in new if name not in old)]
    # As JSON: 1 and true are two things, and what is not there is not null.
    return [
        (name, old.get(name), new.get(name))
        for name in names
        if name not in old or name not in new or json.dumps(old[name]) != json.dumps(new[name])
    ]


def brief(value: Any, most: int = 60) -> str:
    """A setting's value in a line; a fingerprint by its last digits, which are of the last of what it is of."""
    if isinstance(value, str):
        return f"…{value[-8:]}" if MARK.fullmatch(value) else cut(value, most)
    return "–" if value is None else cut(json.dumps(value, ensure_ascii=False), most)


def apart(old: Any, new: Any) -> tuple[str, str]:
    """Both values of a setting; of two lists of texts what only one of them has."""
    lists = []
    for value in (old, new):
        if isinstance(value, str) and value.startswith("["):
            with contextlib.suppress(ValueError):
                value = json.loads(value)
        lists.append(value)
    if not all(isinstance(one, list) and all(isinstance(x, str) for x in one) for one in lists) or not all(
        lists
    ):
        return brief(old, 200), brief(new, 200)
    told = []
    for here, there in (lists, lists[::-1]):
        known = set(there)
        own = [cut(x, 80) for x in here if x not in known]
        named = ", ".join(own[:8]) + (f" and {len(own) - 8:,} more" if len(own) > 8 else "")
        shared = len(here) - len(own)
        told.append(" and ".join(filter(None, [named, f"{shared:,} in common" if shared else ""])))
    return told[0], told[1]


# What the template shows


def table(
    title: str,
    columns: list[str],
    rows: list[list[Any]],
    more: int = 0,
    note: str = "",
    kind: str = "",
    folded: bool = False,
) -> dict[str, Any]:
    """`columns`: a name that begins with `<` stands on the left. `folded`: shown when it is opened."""
    return {
        "title": title,
        "columns": columns,
        "rows": rows,
        "more": max(0, more),
        "note": note,
        "kind": kind,
        "folded": folded,
    }


def many(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def signed(old: float | None, new: float | None, digits: int = 0) -> str:
    """`+1,204`; nothing where one of them is not there."""
    if old is None or new is None:
        return "–"
    return "0" if new == old else f"{new - old:+,.{digits}f}".replace("-", "−")


def share(old: float | None, new: float | None) -> str:
    """`+12 %` of what it was."""
    if not old or new is None or new == old:
        return ""
    part = 100 * (new - old) / abs(old)
    if part > 999:
        return f"× {new / old:,.0f}"
    shown = f"{part:+.0f}" if abs(part) >= 9.95 else f"{part:+.2g}"
    return f"{shown}\u00a0%".replace("-", "−")


def delta(old: float | None, new: float | None, most: float, digits: int = 0, better: int = 0) -> Markup:
    """A difference with its share, and a bar to the left or the right of a middle line; `most` is the longest.

    Args:
        better: 1 where more is better, -1 where less is.
    """
    if old is None or new is None:
        return Markup("–")
    step = new - old
    wide = min(50.0, 50 * abs(step) / most) if most else 0.0
    tone = "" if not better or not step else " good" if step * better > 0 else " bad"
    bar = Markup('<i class="{}{}" style="width:{}%"></i>').format(
        "more" if step > 0 else "less", tone, f"{wide:.2f}"
    )
    known = signed(old, new, digits)
    part = share(old, new)
    return Markup("{}{}{}").format(
        known,
        Markup(" <small>{}</small>").format(part) if part else "",
        Markup('<span class="delta" aria-hidden="true">{}</span>').format(bar if step else "")
        if most
        else "",
    )


def told(head: str, more: str) -> Markup:
    """A cell with a second line in small print."""
    if not more:
        return Markup("{}").format(visible(head))
    return Markup("{}<small>{}</small>").format(visible(head), visible(more))


def listed(rows: list[tuple[str, str]]) -> Markup:
    """A cell with a list of names, each with a word more in small print."""
    return Markup("<ul>{}</ul>").format(
        Markup("").join(Markup("<li>{}</li>").format(told(name, more)) for name, more in rows)
    )
