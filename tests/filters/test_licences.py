"""Licences: texts and manifests of real packages against what their publishers state."""

import importlib.metadata
import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.repositories import FILE, read_repository
from filters.licences import PERMISSIVE, Licences, is_allowed, licence_of_files, licence_of_text


def stated_licences():
    """(name, SPDX id, text) of installed distributions that state one licence and ship one licence file."""
    found = []
    for distribution in importlib.metadata.distributions():
        expression = distribution.metadata.get("License-Expression", "")
        files = [
            f
            for f in distribution.files or ()
            if f.name.upper().startswith(("LICENSE", "LICENCE", "COPYING"))
        ]
        if expression and " " not in expression and len(files) == 1 and ".dist-info" in str(files[0]):
            found.append((distribution.metadata["Name"], expression, files[0].read_text(encoding="utf-8")))
    return found


def test_licence_texts_are_what_their_packages_state():
    stated = stated_licences()
    assert len({expression for _, expression, _ in stated}) >= 3 and len(stated) >= 10
    wrong = [
        (n, expression, found)
        for n, expression, text in stated
        if (found := licence_of_text(text)) != expression
    ]
    # The one holds two licences, the other being stated.
    assert {name for name, *_ in wrong} <= {"python-dateutil"}


def test_licences_of_the_sample_archives(shared_data):
    manifest = json.loads((shared_data / "repos" / "manifest.json").read_text())
    silent = {"lua", "empty-repo"}  # the one has its licence in a header file, the other nothing
    for entry in manifest:
        if entry["name"] in silent:
            continue
        path = str(shared_data / "repos" / entry["file"])
        row = next(iter(read_repository(path, "s", licence_of=licence_of_files)))
        stated = entry["license"].replace("public domain", "public-domain")
        assert row["licence"] is not None and stated.startswith(row["licence"]), entry["file"]


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"package.json": '{"license": "MIT"}'}, "MIT"),
        ({"package.json": '{"license": {"type": "ISC"}}'}, "ISC"),
        ({"package.json": "[" * 5000}, None),
        ({"package.json": '{"license": "SEE LICENSE IN x"}'}, None),
        ({"pyproject.toml": '[project]\nlicense = "Apache-2.0 OR MIT"\n'}, "Apache-2.0 OR MIT"),
        ({"pyproject.toml": 'project = "no table"'}, None),
        ({"PKG-INFO": "Metadata-Version: 2.1\nLicense: BSD-3-Clause\n"}, "BSD-3-Clause"),
        ({"PKG-INFO": "Metadata-Version: 2.1\nLicense: UNKNOWN\n"}, None),
        ({"x.gemspec": '  s.license = "MIT"\n'}, "MIT"),
        ({"x.cabal": "name: x\nlicense: BSD-3-Clause\n"}, "BSD-3-Clause"),
        ({"README": "nothing here"}, None),
        ({"a/b/LICENSE": "Apache License Version 2.0"}, None),  # somebody else's, deep inside
        ({"LICENSE": "Apache License Version 2.0", "vendor/LICENSE": "MIT"}, "Apache-2.0"),
        ({}, None),
    ],
)
def test_licence_of_files(files, licence):
    assert licence_of_files(files) == licence


@given(
    st.dictionaries(
        st.sampled_from(["LICENSE", "package.json", "pyproject.toml", "PKG-INFO", "x.cabal"]), st.text()
    )
)
def test_any_files_have_an_answer(files):
    found = licence_of_files(files)
    assert found is None or (found and len(found) <= 100)


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0", False),
        ("Apache-2.0 OR GPL-2.0", True),
        ("MIT AND GPL-2.0", False),
        ("Apache-2.0 WITH LLVM-exception AND MIT", True),
        ("(MIT OR CC0-1.0)", True),
        (None, False),
    ],
)
def test_is_allowed(licence, allowed):
    assert is_allowed(licence, PERMISSIVE) is allowed


def test_the_transform_says_why():
    batch = pa.RecordBatch.from_pylist([{"licence": "MIT"}, {"licence": "GPL-3.0"}, {"licence": None}], FILE)
    (out,) = Licences()(iter([batch]))
    assert out.column("reason").to_pylist() == [None, "licence_not_allowed", None]
    (out,) = Licences(unlicensed=False)(iter([batch]))
    assert out.column("reason").to_pylist() == [None, "licence_not_allowed", "no_licence"]
