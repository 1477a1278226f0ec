"""Other extractors beside Lode's, with their markup kept, each in a process of its own.

    PYTHON benchmarks/recall_peers.py TOOL < pages.jsonl > texts.jsonl

Each line in is `{"html": ...}`, each line out `{"text": ..., "seconds": ...}`, with `error` where the tool failed.
This file imports nothing of Lode, so that any interpreter can run it; a tool that it lacks is left out.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

PACKAGES = (
    "trafilatura", "resiliparse", "html2text", "inscriptis", "justext", "markdownify", "magic-html", "haruka-parser",
)  # fmt: skip


def _trafilatura(output_format: str) -> Callable:
    from trafilatura import extract

    return lambda html: extract(html, output_format=output_format)


def _resiliparse(main_content: bool) -> Callable:
    from resiliparse.extract.html2text import extract_plain_text

    return lambda html: extract_plain_text(html, main_content=main_content, preserve_formatting=True)


def _html2text() -> Callable:
    import html2text

    return lambda html: html2text.HTML2Text(bodywidth=0).handle(html)


def _inscriptis() -> Callable:
    from inscriptis import get_text

    return get_text


def _justext() -> Callable:
    import justext

    words = justext.get_stoplist("English")
    return lambda html: "\n".join(p.text for p in justext.justext(html, words) if not p.is_boilerplate)


def _markdownify() -> Callable:
    from markdownify import markdownify

    return markdownify


def _magic_html() -> Callable:
    import html2text
    from magic_html import GeneralExtractor

    extractor = GeneralExtractor()
    return lambda html: html2text.HTML2Text(bodywidth=0).handle(
        extractor.extract(html, base_url="https://example.org/")["html"]
    )


def _openwebmath() -> Callable:
    """OpenWebMath's extractor in the fork that PyPI has, with the switches of the original."""
    from collections import defaultdict

    import haruka_parser.extract as haruka

    haruka.get_lxml_tree = lambda html: None  # then text is written by Resiliparse, as in the original
    table = {"format": "markdown", "min_rows": 2, "min_cols": 2}
    boilerplate = {"enable": True, "ratio_threshold": 0.18, "absolute_threshold": 10, "end_threshold": 15}
    switches = (
        "extract_latex", "escape_dollars", "markdown_code", "markdown_headings", "remove_buttons",
        "remove_edit_buttons", "remove_image_figures",
    )  # fmt: skip
    settings = dict.fromkeys(switches, True) | {"table_config": table, "boilerplate_config": boilerplate}
    return lambda html: haruka.extract_text(html, defaultdict(bool, settings))[0]


TOOLS = {
    "trafilatura txt": lambda: _trafilatura("txt"),
    "trafilatura markdown": lambda: _trafilatura("markdown"),
    "resiliparse main": lambda: _resiliparse(True),
    "resiliparse all": lambda: _resiliparse(False),
    "html2text": _html2text,
    "inscriptis": _inscriptis,
    "justext": _justext,
    "markdownify": _markdownify,
    "magic-html + html2text": _magic_html,
    "OpenWebMath (fork)": _openwebmath,
}


def available(interpreters: list[str]) -> dict[str, str]:
    """The tools that the interpreters have, each with the first that has it."""
    found: dict[str, str] = {}
    for interpreter in interpreters:
        for tool in TOOLS:
            if tool not in found and extract(tool, interpreter, []) is not None:
                found[tool] = interpreter
    return found


def extract(tool: str, interpreter: str, pages: list[str]) -> tuple[list[str], float, int] | None:
    """Texts of `pages`, CPU seconds inside the tool, pages it failed on (their text is ""); None if not installed."""
    with tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile("w+") as errors:
        given.writelines(json.dumps({"html": page}) + "\n" for page in pages)
        given.seek(0)
        done = subprocess.run(
            [interpreter, os.path.abspath(__file__), tool],
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        if done.returncode == 3:
            return None
        if done.returncode:
            errors.seek(0)
            raise RuntimeError(f"{tool} stopped with {done.returncode}: {errors.read()[-500:]}")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return (
        [row["text"] for row in rows],
        sum(row["seconds"] for row in rows),
        sum("error" in row for row in rows),
    )


def versions(interpreters: list[str]) -> dict[str, str]:
    """The versions of the tools, from the first interpreter that has each."""
    code = (
        "import importlib.metadata as m, json, sys\nfound = {}\nfor name in sys.argv[1:]:\n"
        "    try: found[name] = m.version(name)\n    except m.PackageNotFoundError: pass\nprint(json.dumps(found))"
    )
    found: dict[str, str] = {}
    for interpreter in interpreters:
        done = subprocess.run(
            [interpreter, "-c", code, *PACKAGES], capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout) | found
    return found


def _serve(tool: str) -> int:
    try:
        convert = TOOLS[tool]()
    except ImportError as error:
        print(error, file=sys.stderr)
        return 3
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # some tools print
        for line in sys.stdin:
            row: dict = {"text": ""}
            started = time.process_time()
            try:
                row["text"] = convert(json.loads(line)["html"]) or ""
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a panic of Rust code is no Exception
                row["error"] = type(error).__name__
            row["seconds"] = time.process_time() - started
            out.write(json.dumps(row) + "\n")
    return 0


if __name__ == "__main__":
    sys.path.pop(0)  # this folder's own modules must not shadow the tools
    sys.exit(_serve(sys.argv[1]))
