"""Components of one file, as Vue and Svelte have them: what their scripts import. `javascript` resolves."""

import re

from repo_ordering.languages import javascript

# What is never closed runs to the end: giving it up and trying again would be quadratic.
_OPENING = re.compile(r"<!--|<script\b", re.IGNORECASE)
_ATTRIBUTES = re.compile(r"""(?:[^>"']++|"[^"]*+"?|'[^']*+'?)*+>?""")
_SOURCE = re.compile(r"""(?<![\w-])src\s*+=\s*+["']([^"'\n]++)["']""")
_END = re.compile(r"</script\b", re.IGNORECASE)


def scan(text: str) -> dict[str, list[str]]:
    """Specifiers of imports in the script blocks, as `javascript.scan` gives them, and the blocks' own `src`."""
    scripts: list[str] = []
    sources: list[str] = []
    at = 0
    while (opening := _OPENING.search(text, at)) is not None:
        if opening[0] == "<!--":
            at = text.find("-->", opening.end())
            if at < 0:
                break
            continue
        attributes = _ATTRIBUTES.match(text, opening.end())
        sources += _SOURCE.findall(attributes[0])
        end = _END.search(text, attributes.end())
        at = len(text) if end is None else end.start() + 1
        scripts.append(text[attributes.end() : len(text) if end is None else end.start()])
    found = javascript.scan("\n;\n".join(scripts))
    return {"code": list(dict.fromkeys(sources + found["code"])), "types": found["types"]}
