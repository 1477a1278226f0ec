r"""How many formulas of real mathematics pages come out as the same LaTeX between delimiters, and in what company.

    python -m benchmarks.formula_recall [--data DIR] [--peer PYTHON]... [--extra DIR] [--losses FILE]

The truth is what the page's own renderer would draw (`benchmarks.formula_truth`). Only formulas that say
something count ("x" matches anything); each segment of the output is used once. *Delimited recall*: found
between math delimiters; *raw recall*: found anywhere; *precision*: share of the output's segments that are
formulas of the page. Lost formulas are *mangled* where the words next to them are in the output, *dropped*
where they are not.

`--extra` adds loose HTML files (also .gz) of any source; its folders count as domains.
"""

import argparse
import collections
import gzip
import json
import pathlib
import re
import time
from collections.abc import Callable

import pyarrow.parquet as pq

from benchmarks import formula_truth, recall_peers
from benchmarks.record import SAMPLE, record
from corpus.charset import decode
from corpus.html import extract_text
from corpus.warc import read_warc

# A domain with fewer formulas says little; it stays out of the macro mean.
MIN_FORMULAS = 20

_SEGMENT_START = re.compile(
    r"\\(?:\\(?=[(\[])|\$)|\$\$?|\\\(|\\\[|\\begin\{(?P<name>(?:equation|align|gather|multline|eqnarray|flalign"
    r"|alignat|displaymath)\*?)\}"
)
_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})[^\n`]*\n.*?(?:^[ \t]*\2[`~]*[ \t]*$|\Z)", re.M | re.S)
_INLINE_CODE = re.compile(r"(?<!`)(`{1,3})(?!`)([^\n]*?[^`\n])\1(?!`)")


def without_code(text: str) -> str:
    return _INLINE_CODE.sub(" ", _FENCE.sub("\n", text))


def segments(text: str) -> list[str]:
    """What stands between math delimiters in an output: `$`, `$$`, `\\(`, `\\[`, and bare environments."""
    text = without_code(text)
    found, at = [], 0
    closers = {
        "$": re.compile(r"(?:\\.|[^\\$])*?(\$)", re.S),
        "$$": re.compile(r"(?:\\.|[^\\])*?(\$\$)", re.S),
    }
    hopeless: set[str] = set()
    while match := _SEGMENT_START.search(text, at):
        at, opening = match.end(), match[0]
        if opening in closers:
            end = closers[opening].match(text, at) if opening not in hopeless else None
            body = text[at : end.start(1)] if end else ""
            if end and body.strip() and not (opening == "$" and "\n\n" in body):
                found.append(body)
                at = end.end()
            elif end is None:
                hopeless.add(opening)
            continue
        closing = {"\\(": "\\)", "\\[": "\\]"}.get(opening) or (match["name"] and f"\\end{{{match['name']}}}")
        if not closing or opening in hopeless:
            continue
        close = text.find(closing, at)
        while (
            close > 0 and text[close - 1] == "\\" and closing[1] in ")]"
        ):  # `\\)` is a line break and a bracket
            close = text.find(closing, close + 1)
        if close < 0:
            hopeless.add(opening)
        elif close - at <= formula_truth.MAX_FORMULA_CHARS:
            found.append(text[match.start() : close + len(closing)] if match["name"] else text[at:close])
            at = close + len(closing)
    return found


def score(page: formula_truth.Page, text: str) -> dict:
    """Counts for one page: recall by encoding, losses, and segments by whether the page holds them."""
    counts: collections.Counter[str] = collections.Counter()
    by_encoding: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    lost, wrong = [], []
    found = [formula_truth.normalise(body) for body in segments(text)]
    left = collections.Counter(found)
    raw_text = re.sub(r"\s+", "", formula_truth.normalise(text))
    words = "".join(re.findall(r"[^\W_]+", text.lower()))
    raw_used: collections.Counter[str] = collections.Counter()
    trivial = []
    for formula in page.formulas:
        normal = formula_truth.normalise(formula.tex)
        if formula_truth.is_trivial(normal):
            trivial.append(normal)
            continue
        tally = by_encoding[formula.encoding]
        raw_used[normal] += 1
        is_found = left[normal] > 0
        left[normal] -= is_found
        is_raw = is_found or raw_text.count(normal) >= raw_used[normal]
        for each in (counts, tally):
            each["formulas"] += 1
            each["found"] += is_found
            each["raw"] += is_raw
        counts["body"] += not formula.landmark
        counts["body_found"] += is_found and not formula.landmark
        if not is_found:
            contexts = [side for side in (formula.before, formula.after) if len(side) >= 8]
            kind = (
                "unknown" if not contexts else "mangled" if any(c in words for c in contexts) else "dropped"
            )
            counts[kind] += 1
            tally[kind] += 1
            lost.append((kind, formula))
    for normal in trivial:
        left[normal] -= left[normal] > 0
    # What is left was made from formulas that have no LaTeX in the page, or from nothing.
    unrendered = collections.Counter(formula_truth.normalise(formula.tex) for formula in page.unrendered)
    conversions = len(page.sourceless)
    for normal, times in left.items():
        for _ in range(times):
            plain = formula_truth.is_trivial(normal)
            if unrendered[normal] > 0:
                unrendered[normal] -= 1
                counts["segments_unrendered"] += 1
                counts["segments_unrendered_nontrivial"] += not plain
            elif conversions:
                conversions -= 1
                counts["segments_converted"] += 1
                counts["segments_converted_nontrivial"] += not plain
            else:
                counts["segments_wrong"] += 1
                counts["segments_wrong_nontrivial"] += not plain
                wrong.append(normal)
    counts["segments"] = len(found)
    counts["segments_nontrivial"] = sum(not formula_truth.is_trivial(normal) for normal in found)
    return {"counts": counts, "by_encoding": by_encoding, "lost": lost, "wrong": wrong}


def sample_pages(data: pathlib.Path, kind: str) -> list[tuple[str, str, str]]:
    """(domain, address, HTML) of the pages labelled `math` or `code`, in the charset the labels give."""
    table = pq.read_table(data / "labels.parquet").to_pylist()
    labels = {(row["warc_file"], row["warc_offset"]): row for row in table if row["class"] == kind}
    pages = []
    for path in sorted(data.glob("*.warc.gz")):
        for one in read_warc(str(path)):
            label = labels.get((path.name, one.position))
            if label and one.payload:
                pages.append((label["domain"], label["url"], decoded(one.payload, label["charset_true"])))
    return pages


def decoded(payload: bytes, charset: str | None) -> str:
    """A body as text, in the charset it is known to be in; guessed where that does not fit."""
    try:
        return payload.decode(charset or "utf-8").removeprefix("\ufeff")
    except (LookupError, UnicodeDecodeError):
        return decode(payload, charset)


MATH_HINT = re.compile(r"mathjax|katex|math/tex|<math|alttext|latex|class=[\"']math", re.I)


def extra_pages(
    folder: pathlib.Path, per_domain: int, hint: re.Pattern[str] = MATH_HINT
) -> list[tuple[str, str, str]]:
    """Loose pages below a folder, evenly over each of its folders by name; only those that match `hint`."""
    pages = []
    for domain in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = sorted(
            p for p in domain.rglob("*") if re.search(r"\.x?html?(\.gz)?$", p.name) and p.is_file()
        )
        chosen = []
        for file in files:
            data = file.read_bytes()
            data = gzip.decompress(data) if file.suffix == ".gz" else data
            text = decode(data)
            if len(text) < 1_000_000 and hint.search(text):
                chosen.append((domain.name, str(file.relative_to(folder)), text))
        step = max(1, len(chosen) // per_domain)
        pages += chosen[::step][:per_domain]
    return pages


def summary(pages, truths, texts) -> tuple[dict, list]:
    total: collections.Counter[str] = collections.Counter()
    encodings: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    domains: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    notes = []
    for (domain, url, _), truth, text in zip(pages, truths, texts, strict=True):
        result = score(truth, text)
        total.update(result["counts"])
        domains[domain].update(result["counts"])
        for encoding, tally in result["by_encoding"].items():
            encodings[encoding].update(tally)
        notes += [("lost " + kind, url, formula.encoding, formula.tex, formula.before, formula.after, formula.landmark)
                  for kind, formula in result["lost"]]  # fmt: skip
        notes += [("wrong", url, "", tex, "", "", False) for tex in result["wrong"]]
    large = {name: c["found"] / c["formulas"] for name, c in domains.items() if c["formulas"] >= MIN_FORMULAS}
    return {
        **_rates(total),
        "macro_recall": round(sum(large.values()) / len(large), 4) if large else None,
        "by_encoding": {name: _short(tally) for name, tally in sorted(encodings.items())},
        "by_domain": {name: _short(tally) | _precision(tally, "") for name, tally in sorted(domains.items())},
        "counts": dict(sorted(total.items())),
    }, notes


def _short(tally: collections.Counter) -> dict:
    count = tally["formulas"]
    return {
        "formulas": count,
        "recall": round(tally["found"] / count, 4) if count else None,
        **{kind: tally[kind] for kind in ("mangled", "dropped", "unknown") if tally[kind]},
    }


def _precision(tally: collections.Counter, suffix: str) -> dict:
    counted = tally["segments" + suffix] - tally["segments_converted" + suffix]
    wrong, unseen = tally["segments_wrong" + suffix], tally["segments_unrendered" + suffix]
    return {
        "precision" + suffix: round(1 - wrong / counted, 4) if counted else None,
        "strict_precision" + suffix: round(1 - (wrong + unseen) / counted, 4) if counted else None,
    }


def _rates(total: collections.Counter) -> dict:
    formulas, body = total["formulas"] or 1, total["body"] or 1
    return {
        "formulas": total["formulas"],
        "recall": round(total["found"] / formulas, 4),
        "raw_recall": round(total["raw"] / formulas, 4),
        "recall_outside_landmarks": round(total["body_found"] / body, 4),
        **{kind: round(total[kind] / formulas, 4) for kind in ("mangled", "dropped", "unknown")},
        **_precision(total, ""),
        **_precision(total, "_nontrivial"),
    }


def texts_of(interpreter: str, tool: str, pages: list[str]) -> tuple[list[str], float, int]:
    """Texts of pages, CPU seconds, and pages that failed; a page that cannot be read costs what is in it."""
    if interpreter:
        return recall_peers.extract(tool, interpreter, pages)
    texts, failed, started = [], 0, time.process_time()
    for page in pages:
        try:
            texts.append(extract_text(page).text)
        except Exception:
            texts.append("")
            failed += 1
    return texts, time.process_time() - started, failed


def show(name: str, row: dict | None, columns: tuple[str, ...]) -> None:
    """A row of a table, or its head."""
    cells = [column.replace("_", " ") if row is None else row[column] for column in columns]
    shown = (cell if isinstance(cell, str) else "-" if cell is None else f"{cell:.4g}" for cell in cells)
    print(f"{name:<24}" + "".join(f"{cell:>18}" for cell in shown), flush=True)


COLUMNS = (
    "recall", "raw_recall", "macro_recall", "mangled", "dropped", "unknown", "precision", "strict_precision",
    "mb_per_s", "failed_pages",
)  # fmt: skip


def run(pages, tools: dict[str, str], losses: pathlib.Path | None) -> dict:
    htmls = [html for _, _, html in pages]
    truths = [formula_truth.read(html) for html in htmls]
    size = sum(map(len, htmls)) / 1e6
    rows = {}
    print(f"{len(pages)} pages, {size:.0f} million characters")
    show("tool", None, COLUMNS)
    for tool, interpreter in {"Lode": "", **tools}.items():
        texts, seconds, failed = texts_of(interpreter, tool, htmls)
        row, notes = summary(pages, truths, texts)
        rows[tool] = row | {"failed_pages": failed, "mb_per_s": round(size / max(seconds, 1e-9), 1)}
        show(tool, rows[tool], COLUMNS)
        if tool == "Lode":
            _show_parts(row)
            if losses:
                losses.write_text("".join(json.dumps(note, ensure_ascii=False) + "\n" for note in notes))
    kinds = collections.Counter(truth.renderer for truth in truths)
    typed = sum(
        not formula_truth.is_trivial(formula_truth.normalise(f.tex)) for t in truths for f in t.unrendered
    )
    return {
        "pages": len(pages),
        "pages_by_renderer": dict(sorted(kinds.items())),
        "sourceless_formulas": sum(len(truth.sourceless) for truth in truths),
        "typed_without_a_renderer_seen": typed,
        "tools": rows,
    }


def _show_parts(row: dict) -> None:
    for part in ("by_encoding", "by_domain"):
        for name, tally in row[part].items():
            if tally["formulas"]:
                print("    " + f"{name:<30}" + "  ".join(f"{key} {value}" for key, value in tally.items()))


def add_sample_and_peers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=pathlib.Path, default=SAMPLE / "web", help="WARC files with labels.parquet"
    )
    parser.add_argument(
        "--peer", action="append", default=[], help="an interpreter with other extractors installed"
    )


def measure(name: str, about: str, kind: str, run: Callable, per_domain: int, *hint: re.Pattern[str]) -> None:
    """The command of a benchmark of recall: `run(pages, tools, losses)` on the sample's pages of a kind and others."""
    parser = argparse.ArgumentParser(description=about)
    add_sample_and_peers(parser)
    parser.add_argument("--extra", type=pathlib.Path, help="a folder of folders of loose HTML files")
    parser.add_argument(
        "--per-domain", type=int, default=per_domain, help="pages from each folder of --extra"
    )
    parser.add_argument("--losses", type=pathlib.Path, help="write what Lode lost or made up, as JSON lines")
    arguments = parser.parse_args()
    tools = recall_peers.available(arguments.peer)
    result: dict = {"peers": recall_peers.versions(arguments.peer)}
    if (arguments.data / "labels.parquet").exists():
        result["sample"] = run(sample_pages(arguments.data, kind), tools, arguments.losses)
    elif not arguments.extra:
        print(f"{arguments.data} holds no labels.parquet: give the folder with --data, or pages with --extra")
        return
    if arguments.extra:
        pages = extra_pages(arguments.extra, arguments.per_domain, *hint)
        losses = arguments.losses and arguments.losses.with_suffix(".extra" + arguments.losses.suffix)
        result["extra"] = run(pages, tools, losses)
    record(name, result, ["lode", "lxml", "resiliparse", "html5lib"])


def main() -> None:
    measure("formula_recall", __doc__.splitlines()[0], "math", run, 150)


if __name__ == "__main__":
    main()
