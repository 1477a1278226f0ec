"""`lode mine` and `lode classify`: the loop, one page's way through it, a check by hand, and one classifier alone."""

import re
import shlex
import shutil
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from corpus.errors import LodeError
from jobs.cli_corpus import done, printable, show, work_in
from jobs.cli_options import Json, Master, Out, Quiet

NAMED = re.compile(r"([A-Za-z0-9_-]+)=(.+)", re.DOTALL)
ALONE = "target"  # what is mined for where nobody gives it a name


def mine(
    out: Out,
    pages: Annotated[str | None, typer.Option(help="Documents of a crawl.")] = None,
    seeds: Annotated[
        list[str] | None,
        typer.Option(
            help="Seed documents, Parquet, WARC or HTML files: PATH, or NAME=PATH for each of several targets "
            "(repeatable)."
        ),
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Stop after so many rounds [12].")] = None,
    annotations: Annotated[
        str | None, typer.Option(help="A file of accepted and rejected paths, annotations.toml.")
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            help="A path prefix, such as site.org/questions; NAME=PREFIX where targets are several."
        ),
    ] = None,
    reject: Annotated[
        list[str] | None, typer.Option(help="A path prefix of which nothing is collected, written likewise.")
    ] = None,
    growth: Annotated[
        float | None,
        typer.Option(help="A round collects at most so many times what is known, or was before [3]."),
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(help="Keep by score: the least evidence, as a probability [0.5].")
    ] = None,
    budget_tokens: Annotated[
        int | None, typer.Option(min=1, help="Keep by rank: the best pages, about so many tokens.")
    ] = None,
    precision: Annotated[
        float | None, typer.Option(min=0, max=1, help="Keep by precision, estimated on held-out seeds.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="A tokenizer.json, for scripts without spaces between words.")
    ] = None,
    bucket: Annotated[
        int | None,
        typer.Option(min=1, help="fastText's hash buckets; each costs 1 kB in training [2,000,000]."),
    ] = None,
    domain_share: Annotated[
        float | None, typer.Option(help="Paths are accepted in domains of which more is collected [0.1].")
    ] = None,
    path_share: Annotated[
        float | None, typer.Option(help="A path of which so much is collected is accepted [0.66].")
    ] = None,
    min_pages: Annotated[int | None, typer.Option(min=1, help="... if it has so many pages [5].")] = None,
    no_widen: Annotated[
        bool, typer.Option("--no-widen", help="Accept only paths that a person has named.")
    ] = False,
    explain: Annotated[
        str | None, typer.Option(metavar="URL", help="Of a run in --out: what decided about this page.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=20, help="Of a run in --out: draw so many pages for a person to label.")
    ] = None,
    check: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Read the labels of such a sample: precision and recall."),
    ] = None,
    seed: int = 0,
    master: Master = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The iterative classifier loop: pages like the seeds, round after round, until nothing new turns up."""
    asked = {"--explain": explain, "--sample": sample, "--check": check}
    given = [name for name, value in asked.items() if value is not None]
    if len(given) > 1:
        raise LodeError(f"{given[0]} and {given[1]}: one at a time.")
    if given and seeds:
        raise LodeError(f"{given[0]}: looks at a finished run; leave out --seeds.")
    if explain is not None:
        print_explanation(out, explain, pages, as_json)
    elif sample is not None:
        draw_sample(out, pages, sample, seed, as_json)
    elif check is not None:
        print_check(out, check, as_json)
    else:
        if not pages or not seeds:
            raise LodeError("lode mine: give --pages and --seeds to mine, or --explain, --sample or --check.")
        keep = {"score": min_score, "tokens": budget_tokens, "precision": precision}
        chosen = [name for name, value in keep.items() if value is not None]
        if len(chosen) > 1:
            raise LodeError("--min-score, --budget-tokens and --precision are three ways to keep; give one.")
        values = {
            "max_rounds": rounds, "annotations": annotations, "growth": growth, "min_score": min_score,
            "budget_tokens": budget_tokens, "precision": precision, "domain_share": domain_share,
            "path_share": path_share, "min_pages": min_pages, "keep": chosen[0] if chosen else None,
            "widen": "annotations" if no_widen else None,
        }  # fmt: skip
        classifier = {"tokenizer": tokenizer, "bucket": bucket}
        run_loop(out, pages, targets_of(seeds, accept or [], reject or []), values, classifier, seed, master,
                 as_json, quiet)  # fmt: skip


def targets_of(seeds: list[str], accept: list[str], reject: list[str]) -> dict[str, dict[str, list[str]]]:
    """`NAME=PATH` options as a recipe's targets."""
    targets: dict[str, dict[str, list[str]]] = {}
    for item in seeds:
        name, path = named(item)
        targets.setdefault(name or ALONE, {"seeds": [], "accept": [], "reject": []})["seeds"].append(path)
    for option, items in (("accept", accept), ("reject", reject)):
        for item in items:
            name, prefix = named(item)
            if name is None and len(targets) > 1:
                raise LodeError(f"--{option} {item}: for which target? Write NAME={item}.")
            name = name or next(iter(targets))
            if name not in targets:
                raise LodeError(f"--{option} {item}: no --seeds has the name {name!r}.")
            targets[name][option].append(prefix)
    return targets


def named(item: str) -> tuple[str | None, str]:
    found = NAMED.fullmatch(item)
    return (found[1], found[2]) if found else (None, item)


def run_loop(
    out: str,
    pages: str,
    targets: dict[str, dict[str, list[str]]],
    values: dict[str, Any],
    classifier: dict[str, Any],
    seed: int,
    master: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    from jobs.engine import open_dataset
    from jobs.mine import mine as run
    from jobs.recipe import Classifier, MineSection, Target, section_of

    def chosen(options: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in options.items() if value is not None}

    section = section_of(
        MineSection,
        targets={name: section_of(Target, **about) for name, about in targets.items()},
        classifier=section_of(Classifier, **chosen(classifier)),
        **chosen(values),
    )
    reads = [path for about in targets.values() for path in about["seeds"]]
    with work_in(out, master, quiet, pages, *reads) as work:
        stage = run(work, open_dataset(pages, ("id", "text", "url", "domain")), section, seed)
    if as_json:
        done(stage, as_json)
    elif not quiet:
        typer.echo(rounds_found(out, stage.manifest))


def table(head: tuple[str, ...], rows: list[tuple[str, ...]], words: tuple[int, ...] = (0,)) -> str:
    """Lines of columns: those with words to the left, the others, numbers, to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for row in (head, *rows):
        cells = [
            cell.ljust(width) if at in words else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def rounds_found(out: str, manifest: dict[str, Any]) -> str:
    """The table of a finished run, why it ended, and what to look at next."""
    from jobs.explain import Run

    rows = []
    for found in Run(out).rounds:
        for target, entry in found.statistics.manifest["round"].items() if found.statistics else ():
            model = found.models.manifest["models"][target]
            rows.append(
                (target, str(found.number), f"{entry['collected']:,}", f"{entry['new']:,}",
                 f"{entry['already_collected']:.1%}", f"{entry['cut']:.2f}", entry["cut_by"],
                 f"{model['precision']:.3f}", f"{model['recall']:.3f}", f"{entry['paths_accepted']:,}")
            )  # fmt: skip
    rows.sort(key=lambda row: (row[0], int(row[1])))
    head = ("target", "round", "collected", "new", "before", "cut", "by", "precision", "recall", "paths")
    finals = ", ".join(f"{r['target']} {r['cut']:.2f}" for r in manifest["rules"] if r["cut"] is not None)
    where = shlex.quote(out)
    taken = "SELECT target, collected_by, count(*) AS pages FROM documents WHERE stage = 'mined' GROUP BY ALL"
    return "\n".join(
        [
            "",
            table(head, rows),
            "",
            f"Stopped: {manifest['stopped']}. {manifest['rows_out']:,} of {manifest['rows_in']:,} pages are in "
            f"{out.rstrip('/')}/mined; the final cut on the evidence: {finals}.",
            "Precision and recall are the classifier's, on examples kept aside. Judge the result yourself:",
            f"  lode mine --sample 200 --out {where}         # pages to label; then --check",
            f"  lode mine --explain URL --out {where}        # what decided about one page",
            f'  lode inspect {where} --sql "{taken}"',
        ]
    )


def print_explanation(out: str, url: str, pages: str | None, as_json: bool) -> None:
    from jobs.explain import Run, explain

    told = explain(Run(out), url, pages)
    show(told, as_json, printable(explanation(told)))


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def explanation(told: dict[str, Any]) -> str:
    """What decided about a page, for a reader."""
    from corpus.mining import OWN_SHARE

    several = told["pages_with_this_address"]
    text = [told["url"] + (f"  (the first of {several} pages with this address)" if several > 1 else "")]
    text.append(ending(told["end"]))
    if told["held_out"]:
        text.append("Its address was kept out of every training.")
    for target, about in told["targets"].items():
        text += ["", f"{target}: {'a seed' if about['seed'] else 'not a seed'}", ""]
        rows = []
        for entry in about["rounds"]:
            rows.append((str(entry["round"]), f"{entry['score']:.4f}", number(entry["own_logit"]),
                         number(entry.get("logit")), number(entry.get("evidence")), number(entry.get("cut")),
                         verdict(entry)))  # fmt: skip
        head = ("round", "score", "logit", "of two rounds", "evidence", "cut", "collected")
        text.append(table(head, rows, (6,)))
        for entry in about["rounds"]:
            if entry["example"]:
                text.append(f"Example of round {entry['round']}: {entry['example']}.")
        last = next((e for e in reversed(about["rounds"]) if e.get("levels")), None)
        if last:
            text += [
                "",
                f"The pages around it (mean logits; 0 is one half), round by round to {last['round']}:",
            ]
            text += [around([e for e in about["rounds"] if e.get("levels")])]
            text.append(
                f"evidence {last['evidence']:.2f} = {OWN_SHARE:.1f} x {last['logit']:.2f} (its own) "
                f"+ {1 - OWN_SHARE:.1f} x {last['levels'][-1]['estimate']:.2f} (its neighbours)"
            )
        final = next((e for e in about["rounds"] if "final_cut" in e), None)
        if final and final["final_cut"] != final["cut"]:
            by = final["finally_collected_by"]
            text.append(
                f"The final cut is {final['final_cut']:.2f}: {f'collected by {by}' if by else 'left'}."
            )
        if about["ngrams"]:
            for side, sign in (("for", "For"), ("against", "Against")):
                shown = [
                    (repr(n["ngram"]), f"{n['share']:+.3f}", str(n["times"])) for n in about["ngrams"][side]
                ]
                if shown:
                    text += ["", table((f"{sign} it in the last round", "of the logit", "times"), shown)]
        else:
            text += [
                "",
                "Its n-grams are not shown: the pages that were mined are not found; name them with --pages.",
            ]
    return "\n".join(text)


def around(rounds: list[dict[str, Any]]) -> str:
    rows = []
    for depth, level in enumerate(rounds[-1]["levels"]):
        place = level["place"] if level["place"] is not None else "the whole crawl"
        place += " (domain)" if level.get("kind") == "domain" else ""
        means = [number(entry["levels"][depth]["mean"]) or "-" for entry in rounds]
        rows.append((place, f"{level['pages']:,}", *means, number(level["estimate"])))
    return table(("", "other pages", *(f"round {entry['round']}" for entry in rounds), "estimate"), rows)


def verdict(entry: dict[str, Any]) -> str:
    """Whether a round collected a page, and by what."""
    if "collected_by" not in entry:
        return "the round has not come to its cut"
    said, learnt = entry["annotated"], entry["accepted_path"]
    if said:
        return (
            f"{'yes' if said['decision'] == 'accept' else 'no'}, {said['decision']}ed path {said['prefix']}"
        )
    by = entry["collected_by"]
    text = f"yes, by {'its neighbours' if by == 'path' else by}" if by else "no"
    return f"{text} (under {learnt}, accepted)" if learnt else text


def ending(end: dict[str, Any] | None) -> str:
    if end is None:
        return "In the end: the run has not come to its end."
    if end["where"] == "mined":
        return (
            f"In the end: collected for {end['target']} by {end['collected_by']}, score {end['score']:.4f}."
        )
    return f"In the end: left, {end['reason']} ({end['detail']})."


def draw_sample(out: str, pages: str | None, size: int, seed: int, as_json: bool) -> None:
    from corpus import storage
    from jobs.explain import Run, sample

    drawn = sample(Run(out), pages, size, seed)
    made = {target: (storage.join(out, name), found) for target, (name, found) in drawn.items()}
    value = {
        target: {"file": path, "pages": len(found.drawn), "of": found.pages}
        for target, (path, found) in made.items()
    }
    text = []
    for target, (path, found) in made.items():
        rows: dict[str, tuple[int, int]] = {}
        for page in found.drawn:
            drawn, _ = rows.get(page.band, (0, 0))
            rows[page.band] = (drawn + 1, page.pages_in_band)
        shown = [(name, f"{drawn:,}", f"{many:,}") for name, (drawn, many) in sorted(rows.items())]
        text.append(
            f"{path}: {len(found.drawn)} of the {found.pages:,} pages that no training for {target} saw"
        )
        text += [table(("evidence", "drawn", "pages"), shown), ""]
    first = shlex.quote(next(iter(made.values()))[0])
    text.append("Write yes or no into the column `label` (leave it empty where unsure), then")
    text.append(f"  lode mine --check {first} --out {shlex.quote(out)}")
    show(value, as_json, "\n".join(text))


def print_check(out: str, file: str, as_json: bool) -> None:
    from corpus.spot_check import estimate, read_table
    from jobs.explain import Run

    target, bands = read_table(file)
    run = Run(out)
    if target not in run.targets:
        raise LodeError(f"{file}: is for {target!r}, which was not mined for in {out}.")
    told = estimate(bands)
    told |= {"target": target, "bands": [
        {"band": b.name, "collected": b.collected, "pages": b.pages, "yes": b.yes, "no": b.no, "unsure": b.unsure,
         "precision": b.precision if b.labelled else None, "interval": list(b.interval)} for b in bands]}  # fmt: skip
    rows = []
    for b in bands:
        low, high = b.interval
        shown = (f"{b.precision:.3f}", f"{low:.3f} to {high:.3f}") if b.labelled else ("", "no label")
        rows.append((b.name, f"{b.pages:,}", str(b.yes), str(b.no), str(b.unsure), *shown))
    text = [table(("evidence", "pages", "yes", "no", "unsure", "share of yes", "95 %"), rows), ""]
    for name, meaning in (("precision", "collected pages that are positives"),
                          ("recall", "positives that were collected")):  # fmt: skip
        if told[name]:
            value, low, high = told[name]
            text.append(f"{name:<9} {value:.3f}, {low:.3f} to {high:.3f}  ({meaning})")
        else:
            text.append(f"{name:<9} unknown: a band that it needs has no label, or no positive")
    text.append(
        f"estimated from {told['pages_collected']:,} pages that were collected and {told['pages_left']:,} that were "
        "left; no training saw them"
    )
    show(told, as_json, "\n".join(text))


classify = typer.Typer(no_args_is_help=True, help="One fastText classifier: train it, score with it.")


@classify.command("train")
def classify_train(
    positives: Annotated[str, typer.Option(help="Documents of the class.")],
    negatives: Annotated[str, typer.Option(help="Documents that are not.")],
    out: Annotated[str, typer.Option(help="File for the model, NAME.bin; its scorer comes beside it.")],
    bucket: Annotated[int, typer.Option(min=1)] = 2_000_000,
    epoch: Annotated[int, typer.Option(min=1)] = 3,
    tokenizer: Annotated[
        str | None, typer.Option(help="A tokenizer.json, for scripts without spaces between words.")
    ] = None,
    seed: int = 0,
) -> None:
    """Train a classifier with the settings of DeepSeekMath; the same data give the same bytes."""
    from corpus import storage
    from filters.classifier import FastTextSettings, train
    from filters.normaliser import Normaliser
    from filters.scorer import scorer_path

    normaliser = Normaliser(tokenizer)

    def texts(dataset: str) -> Iterator[str]:
        for path in storage.parquet_parts(dataset):
            for batch in storage.read_parquet(path, ["text"]):
                yield from normaliser.batch([text or "" for text in batch.column("text").to_pylist()])

    settings = FastTextSettings(bucket=bucket, epoch=epoch, seed=seed)
    train(texts(positives), texts(negatives), settings, out, normaliser)
    for path in (out, scorer_path(out)):
        typer.echo(f"{path}: {storage.size(path):,} bytes")


@classify.command("score")
def classify_score(
    model: Annotated[
        str,
        typer.Option(help="A model of `lode classify train`, or any of fastText with two labels."),
    ],
    input: Annotated[str, typer.Option(help="Documents to score.")],
    out: Out,
    label: Annotated[
        str | None,
        typer.Option(
            help="For a model of fastText: the label whose probability counts; usually __label__yes."
        ),
    ] = None,
    master: Master = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Every document's probability of being of the class, as the column `score`."""
    from corpus import storage
    from filters.classifier import Classifier, Score, on_this_host
    from jobs.engine import HERE, Account, fingerprint_files, open_dataset
    from jobs.worker import Task

    if not storage.exists(model):
        raise LodeError(f"{model}: there is no such model.")
    mark = fingerprint_files([model])
    scorer = on_this_host(model, label, mark)
    Classifier(scorer)
    before = open_dataset(input, ("id", "text", "url", "domain"))
    with work_in(out, master, quiet, input) as work:

        def build(folder: str) -> Account:
            # Where every machine finds it.
            copy = storage.join(folder, "_scratch", "model.safetensors")
            with open(scorer, "rb") as source, storage.atomic_write(copy) as target:
                shutil.copyfileobj(source, target)
            function = Score((("score", copy),), f"{mark} {label}")
            tasks = [Task(part, (path,)) for part, path in enumerate(before.parts)]
            counts = work.map_parts(folder, tasks, function.schema(before.schema), function)
            storage.remove(storage.join(folder, "_scratch"))
            return Account(counts, "documents")

        marks = {"documents": before.fingerprint, "model": mark}
        rooms = ("filters/classifier.py", "filters/normaliser.py", "filters/scorer.py")
        done(work.stage(HERE, rooms, {"label": label}, marks, build), as_json)


def register(app: typer.Typer) -> None:
    app.command()(mine)
    app.add_typer(classify, name="classify")
