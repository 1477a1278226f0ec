"""Make `filters/licences.npz`, the words of the texts of SPDX's licences, from a copy of SPDX's list.

    python -m benchmarks.licence_tables FILE VERSION

FILE is the list with its texts as JSON, `{id: {"licenseText": ...}}`: `spdx-full.json` of the npm package
`spdx-license-list` (`npm pack spdx-license-list`; CC0-1.0, as SPDX's own data is). VERSION is what the table says of
it.

The table holds each distinct text once, under the identifier that the text alone supports (`GPL-2.0-only`, not
`-or-later`), as numbers of a vocabulary in order of frequency. Identifiers that `license-expression` does not know are
left out, since no expression could hold
them, and old ones for a licence with an exception.
"""

import argparse
import collections
import json
import pathlib
import re

import numpy as np
from license_expression import get_spdx_licensing

from filters.licence_texts import words_of

TARGET = pathlib.Path(__file__).resolve().parents[1] / "filters" / "licences.npz"
# Where the terms of a text end and what is often left out begins.
ENDS = ("\nAPPENDIX", "END OF TERMS AND CONDITIONS", "How to Apply These Terms", "\nExhibit A", "\nEXHIBIT A")
ENDS += (
    "\nCreative Commons is not a party",
    "\nCreative Commons Notice",
    "\nGNU GENERAL PUBLIC LICENSE\nVersion 3",
)
# Texts that name their first owner where others have another.
OWNERS = {"ISC": (r"\bISC (?=DISCLAIMS|BE)", "THE AUTHOR ")}
MIN_WORDS = 15


def texts(listed: dict[str, dict[str, str]]) -> dict[tuple[str, ...], str]:
    """Identifier by words, each text once."""
    known = get_spdx_licensing()
    names: dict[tuple[str, ...], list[str]] = {}
    for name, entry in listed.items():
        if "-with-" in name or known.unknown_license_keys(name):
            continue
        text = entry["licenseText"]
        variants = [text] + [text[: text.index(end)] for end in ENDS if end in text]
        variants += [re.sub(*OWNERS[name], text)] if name in OWNERS else []
        for variant in variants:
            if words := tuple(words_of(variant)):
                names.setdefault(words, []).append(name)
    found = {}
    for words, shared in names.items():
        name = str(known.parse(min(shared, key=lambda name: (len(name), name))))
        if len(words) >= MIN_WORDS:
            found[words] = name.replace("-or-later", "-only")  # no text says that of itself
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("version")
    arguments = parser.parse_args()
    found = sorted((name, words) for words, name in texts(json.loads(arguments.file.read_text())).items())
    counts = collections.Counter(word for _, words in found for word in words)
    vocabulary = sorted(counts, key=lambda word: (-counts[word], word))
    number = {word: at for at, word in enumerate(vocabulary, 1)}  # 0 is any other word
    np.savez_compressed(
        TARGET,
        about=np.array(
            f"Texts of SPDX's licences as words, from spdx-license-list {arguments.version} (CC0-1.0)"
        ),
        names=np.array([name for name, _ in found]),
        lengths=np.array([len(words) for _, words in found], np.int32),
        words=np.array([number[word] for _, words in found for word in words], np.uint16),
        vocabulary=np.array("\n".join(vocabulary)),
    )
    print(f"{len(found)} texts, {len(vocabulary)} words, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
