"""Mutated pages and archives, and pages made to be expensive: nothing may crash, hang or vanish.

    python -m benchmarks.fuzzing [--pages 100000] [--archives 20000] [--seed 0] [--save DIR]

Pages are pieces of the sample crawl (where it is there) and generated markup; each is mutated (bits, deletions,
repetitions, tokens, splices, cuts) and goes through decoding, opt-out signals, extraction and Arrow, as in a crawl.
An exception, a page over `LIMIT` seconds or a row that does not come out is a fault; its input goes to `--save`.
Archives are damaged at one to three places: every record that was not touched has to come out as it was.
Costly pages are as large as is accepted; each is measured in a process of its own.
"""

import argparse
import collections
import concurrent.futures
import gzip
import multiprocessing
import pathlib
import random
import resource
import tempfile
import time
from collections.abc import Callable
from typing import Any

import zstandard

from benchmarks.record import SAMPLE, record
from corpus import extract
from corpus.schema import to_batches, with_verdict
from corpus.warc import Record, read_warc

LIMIT = 10.0  # seconds that a mutated page may take
BATCH = 250
NAMES = (
    "html", "head", "body", "title", "p", "div", "span", "pre", "code", "table", "tr", "td", "ul", "li", "math", "mrow",
    "script", "style",
)  # fmt: skip
TOKENS = [
    *(f"<{name}>" for name in NAMES[:-2]), *(f"</{name}>" for name in NAMES),
    "<!--", "-->", "<![CDATA[", "]]>", "<?xml version='1.0'?>", "<!doctype html>", "<script type='math/tex'>",
    "<script type='math/tex; mode=display'>", "</script>", "<style>", "<textarea>", "<svg>", "<template>", "<select>",
    "<msup><mi>x</mi><mn>2</mn></msup>", "<annotation encoding='application/x-tex'>x^2</annotation>", "<semantics>",
    "<span class='katex'>", "<img alt='$x^2$' class='latex'>", "<sup>2</sup>", "<sub>i</sub>", "<br>", "<a href='#'>",
    "$", "$$", "\\(", "\\)", "\\[", "\\]", "\\begin{align}", "\\end{align}", "\\newcommand{\\R}{\\mathbb{R}}", "\\R",
    "`", "```", "&amp;", "&#x0;", "&#55296;", "&#1114112;", "&nosuch;", "\0", "\ufeff", "\u2028", "\U0001f600",
    "<h1>", "<h6>", "<blockquote>", "<hr>", "<meta name='robots' content='noai'>", "<meta charset='utf-16'>", "QZL0Z",
    "<div class='highlight'><pre><span class='k'>if</span> x:\n    y\n</pre></div>", "<td rowspan=99999 colspan=99999>",
]  # fmt: skip


def seeds(rng: random.Random) -> list[bytes]:
    """Pieces of real pages, a few kilobytes each."""
    found: list[bytes] = []
    for path in sorted((SAMPLE / "web").glob("*.warc.gz")):
        for number, row in enumerate(read_warc(str(path))):
            if row.reason is None and number % 7 == 0:
                at = rng.randrange(max(1, len(row.payload) - 4000))
                found.append(row.payload[:1000] + row.payload[at : at + 4000])
    return found


def generated(rng: random.Random) -> bytes:
    words = ("the", "formula", "x", "let", "数学", "é", "follows", "0", "1.5", "for")
    parts = (rng.choice(TOKENS if rng.random() < 0.4 else words) for _ in range(rng.randrange(20, 300)))
    return " ".join(parts).encode("utf-8", "replace")


def mutated(data: bytes, other: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 2, 4, 8, 30))):
        at = rng.randrange(len(out) + 1)
        end = min(len(out), at + rng.choice((1, 3, 20, 200, 1000)))
        kind = rng.randrange(7)
        if kind == 0 and out:
            out[at % len(out)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del out[at:end]
        elif kind == 2:
            out[at:at] = bytes(out[at:end]) * rng.choice((1, 2, 50 if end - at < 50 else 2))
        elif kind == 3:
            out[at:at] = rng.choice(TOKENS).encode("utf-8", "replace") * rng.choice((1, 1, 1, 3, 200))
        elif kind == 4:
            start = rng.randrange(len(other) + 1)
            out[at:at] = other[start : start + rng.choice((10, 100, 1000))]
        elif kind == 5:
            out[at:end] = rng.randbytes(end - at)
        elif rng.random() < 0.1:
            del out[at:]
    return bytes(out[:40_000])


CHARSETS = (
    None,
    None,
    "utf-8",
    "iso-8859-1",
    "gbk",
    "shift_jis",
    "utf-16",
    "big5",
    "euc-kr",
    "no-such-charset",
)
_seeds: list[bytes] = []


def page_batch(
    number: int, seed: int, count: int, save: str | None
) -> tuple[collections.Counter, list[str], float]:
    """Outcomes by reason, faults, and the slowest page's seconds of one batch of pages."""
    rng = random.Random(f"{seed}/{number}")
    if not _seeds:
        _seeds.extend(seeds(random.Random(seed)) or [b"<p>x</p>"])
    outcomes: collections.Counter = collections.Counter()
    faults, slowest = [], 0.0
    for index in range(count):
        base = rng.choice(_seeds) if rng.random() < 0.7 else generated(rng)
        data = mutated(base, rng.choice(_seeds), rng)
        given = Record(url="http://example.org/", payload=data, charset=rng.choice(CHARSETS))
        began, fault = time.perf_counter(), None
        try:
            row = extract._extracted(given, extract.Extraction(seconds=LIMIT))
            (batch,) = to_batches([{"id": "0", **row}], with_verdict(extract.PAGE))
            reason = batch.column("reason")[0].as_py()
            outcomes[reason or "kept"] += 1
            if reason in ("extraction_failed", "extraction_timeout"):
                fault = f"{reason}: {row['detail']}"
        except BaseException as error:
            fault = f"{type(error).__name__}: {error}"
        seconds = time.perf_counter() - began
        slowest = max(slowest, seconds)
        if seconds > LIMIT:
            fault = fault or f"{seconds:.1f} seconds"
        if fault:
            faults.append(f"page {number}/{index} ({given.charset}): {fault}"[:300])
            if save:
                pathlib.Path(save, f"page-{seed}-{number}-{index}.html").write_bytes(data)
    return outcomes, faults, slowest


def archive(rng: random.Random) -> tuple[str, list[bytes]]:
    records = []
    for number in range(rng.randrange(1, 8)):
        body = b"<!doctype html><p>" + rng.randbytes(rng.randrange(10, 3000)).hex().encode()
        block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + body
        records.append(
            b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a.org/%d\r\n"
            b"WARC-Record-ID: <urn:x:%d>\r\nContent-Type: application/http; msgtype=response\r\n"
            b"Content-Length: %d\r\n\r\n%b\r\n\r\n" % (number, number, len(block), block)
        )
    form = rng.choice(("gz", "zst", "plain"))
    pack = {"gz": gzip.compress, "zst": zstandard.compress, "plain": bytes}[form]
    return form, [pack(one) for one in records]


def archive_batch(
    number: int, seed: int, count: int, save: str | None
) -> tuple[collections.Counter, list[str], float]:
    """Outcomes by reason, faults, and the slowest archive's seconds of one batch of damaged archives."""
    rng = random.Random(f"archives {seed}/{number}")
    outcomes: collections.Counter = collections.Counter()
    faults, slowest = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        for index in range(count):
            form, members = archive(rng)
            hit = {rng.randrange(len(members)) for _ in range(rng.choice((1, 1, 1, 2, 3)))}
            damaged = [
                _damaged(member, rng) if place in hit else member for place, member in enumerate(members)
            ]
            path = pathlib.Path(folder, f"x.warc{'' if form == 'plain' else '.' + form}")
            path.write_bytes(b"".join(damaged))
            began, fault = time.perf_counter(), None
            try:
                rows = list(read_warc(str(path)))
                outcomes.update(row.reason or "kept" for row in rows)
                found = {row.url for row in rows if row.reason is None}
                lost = {f"http://a.org/{place}" for place in set(range(len(members))) - hit} - found
                if lost:
                    fault = f"{form}, damage in {sorted(hit)} of {len(members)}: lost {sorted(lost)}"
            except BaseException as error:
                fault = f"{form}: {type(error).__name__}: {error}"
            seconds = time.perf_counter() - began
            slowest = max(slowest, seconds)
            if seconds > LIMIT:
                fault = fault or f"{form}: {seconds:.1f} seconds"
            if fault:
                faults.append(f"archive {number}/{index}: {fault}"[:300])
                if save:
                    pathlib.Path(save, f"archive-{seed}-{number}-{index}-{path.name}").write_bytes(
                        b"".join(damaged)
                    )
    return outcomes, faults, slowest


def _damaged(member: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(member))
    end = min(len(member), at + rng.choice((1, 2, 8, 100, 1000)))
    return (
        member[:at] + rng.choice((b"", rng.randbytes(end - at), bytes(end - at), member[:50])) + member[end:]
    )


def costly(size: int, tags: int) -> dict[str, Callable[[], str]]:
    """Pages of at most `size` characters and `tags` tags that ask for more than their share."""

    def fill(piece: str, head: str = "", tail: str = "") -> Callable[[], str]:
        times = (size - len(head) - len(tail)) // len(piece)
        if count := piece.count("<"):
            times = min(times, (tags - 10) // count)
        return lambda: head + piece * times + tail

    return {
        "text": fill("word "), "one word": fill("a"), "blanks": fill(" ", "<p>", "x"), "entities": fill("&amp;"),
        "numeric entities": fill("&#65;"), "combining marks": fill("\u0301", "<p>a"), "lines": fill("x\n"),
        "bold": fill("<b>"), "bold, closed": fill("<b>x</b>"), "div": fill("<div>"), "font": fill("<font color=x>"),
        "attributes": fill('a="b" ', "<p ", ">x"), "long attribute": fill("x ", '<p a="', '">x'),
        "dollars": fill("$x$ "), "only dollars": fill("$"), "inline formulas": fill("\\( x \\) "),
        "openings": fill("\\( "), "display openings": fill("\\["), "one formula": fill("x^2+", "<p>\\(", "\\)"),
        "braces": fill("{", "<p>\\(", "\\)"), "environments": fill("\\begin{align}x\\end{align} "),
        "environment openings": fill("\\begin{align}"),
        "macros": fill("\\newcommand{\\a}{b}", "<script type='math/tex'>", "</script>"),
        "macro bomb": lambda: "<script type='math/tex'>" + "".join(
            f"\\newcommand{{\\a{chr(97 + i)}}}{{\\a{chr(98 + i)}\\a{chr(98 + i)}}}" for i in range(24)
        ) + "</script>" + "<p>\\(\\aa\\)</p>" * 1000,
        "cells": fill("<td>x", "<table><tr>"), "rows": fill("<tr><td>x</td></tr>", "<table>"),
        "nested tables": fill("<table><tr><td>"), "list": fill("<li>x", "<ul>"), "nested lists": fill("<ul><li>x"),
        "paragraphs": fill("<p>some text of it. "), "links": fill("<a href='x'>y</a> "), "headings": fill("<h1>x</h1>"),
        "quotations": fill("<blockquote>"), "line breaks": fill("x<br>"), "spans": fill("<span>x</span>"),
        "one code block": fill("x = 1\n", "<pre>"), "code blocks": fill("<pre>x</pre>"),
        "code": fill("<code>x</code> "),
        "backticks": fill("`", "<pre>"), "highlighted": fill("<span class='k'>if</span> ", "<pre>", "</pre>"),
        "tex scripts": fill("<script type='math/tex'>x^2</script>"), "mathml": fill("<math><mi>x</mi></math>"),
        "one mathml": fill("<mi>x</mi><mo>+</mo>", "<math>"), "nested mathml": fill("<mrow>", "<math>"),
        "alttext": fill("<math alttext='x^2'></math>"), "images": fill("<img alt='$x^2$' class='latex'>"),
        "superscripts": fill("x<sup>2</sup> "), "katex": fill(
            "<span class='katex'><annotation encoding='application/x-tex'>x^2</annotation></span>"
        ),
        "comments": fill("<!-- x -->"), "open comments": fill("<!--"), "less than": fill("< "),
        "title": fill("x ", "<title>"),
        "forms": fill("<form><input>"), "options": fill("<option>x</option>", "<select>"),
        "meta tags": fill("<meta name='robots' content='noai'>"), "open meta": fill("<meta name=robots "),
        "twice encoded": fill("Ã© "),
    }  # fmt: skip


def _cost(name: str, size: int, tags: int, out: Any) -> None:
    data = costly(size, tags)[name]().encode()
    began = time.perf_counter()
    given = Record(url="http://example.org/", payload=data, charset="utf-8")
    row = extract._extracted(given, extract.Extraction())
    list(to_batches([{"id": "0", **row}], with_verdict(extract.PAGE)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    out.put(
        {
            "seconds": round(time.perf_counter() - began, 2),
            "peak_mb": peak,
            "reason": row.get("reason") or "kept",
        }
    )


def costs() -> dict[str, Any]:
    """Seconds, peak memory (MB, whole process) and outcome of each costly page."""
    context = multiprocessing.get_context("fork")
    found: dict[str, Any] = {}
    for name in costly(100, 100):
        out = context.Queue()
        process = context.Process(target=_cost, args=(name, extract.MAX_PAGE_CHARS, extract.MAX_TAGS, out))
        process.start()
        process.join(300)
        if process.is_alive():
            process.kill()
        found[name] = out.get() if process.exitcode == 0 else {"reason": f"died ({process.exitcode})"}
        print(f"{name:24}{found[name]}", flush=True)
    return found


def run(
    function: Callable[..., tuple[collections.Counter, list[str], float]],
    total: int,
    seed: int,
    save: str | None,
) -> dict[str, Any]:
    began = time.time()
    outcomes: collections.Counter = collections.Counter()
    faults: list[str] = []
    slowest = 0.0
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        sizes = [min(BATCH, total - at) for at in range(0, total, BATCH)]
        jobs = [pool.submit(function, number, seed, size, save) for number, size in enumerate(sizes)]
        for job in concurrent.futures.as_completed(jobs):
            found, faulty, seconds = job.result()
            outcomes += found
            faults += faulty
            slowest = max(slowest, seconds)
    return {
        "inputs": total, "faults": len(faults), "slowest_seconds": round(slowest, 2),
        "outcomes": dict(outcomes.most_common()), "first_faults": sorted(faults)[:20],
        "seconds": round(time.time() - began),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pages", type=int, default=100_000)
    parser.add_argument("--archives", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", help="folder for the inputs at fault")
    options = parser.parse_args()
    if options.save:
        pathlib.Path(options.save).mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"seed": options.seed}
    result["pages"] = run(page_batch, options.pages, options.seed, options.save)
    print("pages", result["pages"])
    result["archives"] = run(archive_batch, options.archives, options.seed, options.save)
    print("archives", result["archives"])
    result["costly"] = costs()
    record("fuzzing", result, ["fastwarc", "lxml", "resiliparse", "zstandard"])


if __name__ == "__main__":
    main()
