"""Licences: texts and manifests of real packages against what their publishers state, and the policy by brute force."""

import importlib.metadata
import itertools
import json
import pathlib
import random
import time

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from license_expression import get_license_index, get_spdx_licensing

from corpus.errors import LodeError
from corpus.repositories import FILE, read_repository
from filters import licence_texts
from filters.licence_manifests import stated
from filters.licence_names import UNKNOWN, expression_of, is_satisfied, parsed, permissive
from filters.licences import Licences, RepositoryLicences, licence_of_text, notice
from filters.repository_lists import find, listed

COMMON = pathlib.Path("/usr/share/common-licenses")
PUBLIC_DOMAIN = "LicenseRef-scancode-public-domain"


def text_of(name):
    """A licence's words out of the table, as a text."""
    table = licence_texts._table()
    words = {number: word for word, number in table.number.items()}
    (at,) = [i for i, known in enumerate(table.names) if known == name][:1]
    (numbers,) = [numbers for numbers, i in table.exact.items() if i == at]
    return " ".join(words[number] for number in memoryview(numbers).cast("q"))


MIT = """MIT License

Copyright (c) 2020 Somebody

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""
GPL_NOTICE = """This program is free software; you can redistribute it and/or modify
it under the terms of the GNU General Public License as published by
the Free Software Foundation; either version 2 of the License, or
(at your option) any later version."""
APACHE_NOTICE = """Copyright 2021 Somebody

Licensed under the Apache License, Version 2.0 (the "License");
you may not use this file except in compliance with the License."""
OWN = "You may look at this program on Sundays. " * 20


def licences_of(files, path):
    found = RepositoryLicences()
    for name, text in files.items():
        found.look(name, text)
    return found.of(path)


# Texts


def stated_licences():
    """(name, SPDX id, text) of installed distributions that state one licence and ship one licence file."""
    for distribution in importlib.metadata.distributions():
        expression = distribution.metadata.get("License-Expression", "")
        files = [
            f
            for f in distribution.files or ()
            if f.name.upper().startswith(("LICENSE", "LICENCE", "COPYING")) and ".dist-info" in str(f)
        ]
        if expression and " " not in expression and len(files) == 1:
            yield distribution.metadata["Name"], expression, files[0].read_text(encoding="utf-8")


def test_licence_texts_are_what_their_packages_state():
    found = list(stated_licences())
    assert len({expression for _, expression, _ in found}) >= 3 and len(found) >= 10
    wrong = {n for n, expression, text in found if licence_of_text(text) != str(parsed(expression))}
    # They hold further licences, named or whole, beside the one that is stated.
    assert wrong <= {
        "python-dateutil",
        "numpy",
        "scipy",
        "pandas",
        "ruff",
        "pyarrow",
        "typing_extensions",
        "grpcio",
        "pillow",
        "sympy",
    }


@pytest.mark.skipif(not COMMON.is_dir(), reason="Debian's licence texts are not here")
@pytest.mark.parametrize(
    ("file", "licence"),
    {
        "Apache-2.0": "Apache-2.0",
        "Artistic": "Artistic-1.0-Perl",
        "BSD": "BSD-3-Clause",
        "CC0-1.0": "CC0-1.0",
        "GFDL-1.2": "GFDL-1.2-only",
        "GFDL-1.3": "GFDL-1.3-only",
        "GPL-1": "GPL-1.0-only",
        "GPL-2": "GPL-2.0-only",
        "GPL-3": "GPL-3.0-only",
        "LGPL-2": "LGPL-2.0-only",
        "LGPL-2.1": "LGPL-2.1-only",
        "LGPL-3": "LGPL-3.0-only",
        "MPL-1.1": "MPL-1.1",
        "MPL-2.0": "MPL-2.0",
    }.items(),
)
def test_licence_texts_of_debian(file, licence):
    if not (COMMON / file).exists():
        pytest.skip(f"{file} is not here")
    assert licence_of_text((COMMON / file).read_text()) == licence


def test_every_text_of_the_table_is_found_in_other_clothes():
    """Comment marks, wrapping, an owner and a few other words around and in it change nothing."""
    names = sorted(set(licence_texts._table().names))
    assert len(names) >= 500
    rng = random.Random(1)
    wrong = []
    for name in rng.sample(names, 120):
        words = text_of(name).upper().split()
        if len(words) > 100:
            words[50:50] = ["(Foo)"]
        lines = [" * " + " ".join(words[at : at + 11]) for at in range(0, len(words), 11)]
        found, _ = licence_texts.texts_in(
            licence_texts.words_of("/* Copyright 1999 Foo\n" + "\n".join(lines) + "\n */")
        )
        wrong += [(name, found)] if found != [name] else []
    # Texts that differ by a word or two from one another.
    assert len(wrong) <= 2, wrong


def test_conditions_added_to_a_known_text_are_not_overlooked():
    assert licence_of_text(MIT) == "MIT"
    good = "shall be included in all\ncopies or substantial portions of the Software.\n"
    assert (
        licence_of_text(MIT.replace(good, good + "\nThe Software shall be used for Good, not Evil.\n"))
        == "JSON"
    )
    clause = "The Software may not be sold. Commercial use is prohibited without a licence from us.\n"
    assert licence_of_text(clause + MIT) == f"MIT AND {UNKNOWN}"
    assert licence_of_text("Commons Clause License Condition v1.0\n" + clause + MIT) == f"MIT AND {UNKNOWN}"


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("", None),
        ("See LICENSE in the root.", None),
        ("../LICENSE", None),
        (OWN, UNKNOWN),
        ("This project is released under the Apache License, version 2.0.", "Apache-2.0"),
        (
            "Licensed under either of Apache License, Version 2.0 or MIT license at your option.",
            "Apache-2.0 OR MIT",
        ),
        (GPL_NOTICE, "GPL-2.0-or-later"),
        (GPL_NOTICE + "\nParts of it are under the MIT license.", "GPL-2.0-or-later AND MIT"),
        (
            GPL_NOTICE + "\nAlternatively, this file may be used under the MIT license.",
            "GPL-2.0-or-later OR MIT",
        ),
        (
            "Files a, b or c are under the MPL 2.0.\n" + "One or the other. " * 10 + "d: MIT license",
            "MIT AND MPL-2.0",
        ),
        (MIT + "\n\n" + OWN.replace("look", "sell"), "MIT"),
        ("SPDX-License-Identifier: ISC\n" + OWN, "ISC"),
    ],
)
def test_licence_of_text(text, licence):
    assert licence_of_text(text) == licence


# Names


@pytest.mark.parametrize(
    ("stated_name", "expression"),
    [
        ("MIT", "MIT"),
        ("mit", "MIT"),
        ("The MIT License (MIT)", "MIT"),
        ("BSD", "BSD-3-Clause"),
        ("New BSD License", "BSD-3-Clause"),
        ("2-clause BSD", "BSD-2-Clause"),
        ("Apache 2", "Apache-2.0"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("Apache-2.0+", "Apache-2.0"),
        ("http://www.apache.org/licenses/LICENSE-2.0", "Apache-2.0"),
        ("GPLv2+", "GPL-2.0-or-later"),
        ("GPL v3 only", "GPL-3.0-only"),
        ("GPL (>= 2)", "GPL-2.0-or-later"),
        ("LGPL-2.1+", "LGPL-2.1-or-later"),
        ("GPL-2.0-with-classpath-exception", "GPL-2.0-only WITH Classpath-exception-2.0"),
        ("GNU General Public License v3 or later (GPLv3+)", "GPL-3.0-or-later"),
        ("GNU Lesser General Public License v2 or later (LGPLv2+)", "LGPL-2.0-or-later"),
        ("MIT/Apache-2.0", "MIT OR Apache-2.0"),
        ("Apache 2.0 or MIT", "Apache-2.0 OR MIT"),
        ("MIT and PSF", "MIT AND PSF-2.0"),
        ("MIT + file LICENSE", "MIT"),
        ("perl_5", "Artistic-1.0-Perl OR GPL-1.0-or-later"),
        ("Public Domain", PUBLIC_DOMAIN),
        ("UNLICENSED", "LicenseRef-scancode-proprietary-license"),
        ("CC-BY-NC-4.0", "CC-BY-NC-4.0"),
        ("Sunday licence", UNKNOWN),
        ("LicenseRef-Ours", "LicenseRef-Ours"),
        ("(" * 200 + "MIT", "MIT"),
        ("SEE LICENSE IN LICENSE.md", None),
        ("https://example.org/terms", None),
        ("UNKNOWN", None),
        ("", None),
    ],
)
def test_expression_of(stated_name, expression):
    assert expression_of(stated_name) == expression


def test_every_spdx_id_is_itself():
    known = get_spdx_licensing()
    keys = [key for key, symbol in known.known_symbols.items() if not symbol.is_exception]
    assert len(keys) > 2000
    for key in keys:
        assert expression_of(key) == str(known.parse(key))


@given(st.text(max_size=400))
def test_any_statement_is_an_expression_or_nothing(text):
    found = expression_of(text)
    assert found is None or parsed(found) is not None
    assert notice(text, "x.py") is None or parsed(notice(text, "x.py")) is not None


# Notices


@pytest.mark.parametrize(
    ("head", "licence"),
    [
        ("// SPDX-License-Identifier: Apache-2.0 OR MIT\n", "Apache-2.0 OR MIT"),
        ("/* SPDX-License-Identifier: GPL-2.0+ */\n", "GPL-2.0-or-later"),
        ("<!-- SPDX-License-Identifier: MIT -->", "MIT"),
        (
            "# SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note",
            "GPL-2.0-only WITH Linux-syscall-note",
        ),
        ("# SPDX-License-Identifier: MIT\n# SPDX-License-Identifier: BSD-3-Clause\n", "BSD-3-Clause AND MIT"),
        ("# SPDX-License-Identifier: Ours\n", UNKNOWN),
        ('print("SPDX-License-Identifier: " + name)', None),
        ("# " + APACHE_NOTICE.replace("\n", "\n# "), "Apache-2.0"),
        (" * " + GPL_NOTICE.replace("\n", "\n * "), "GPL-2.0-or-later"),
        ("// Distributed under the Boost Software License, Version 1.0.", "BSL-1.0"),
        ("/* " + MIT + "*/\nint main() {}", "MIT"),
        ("# This module has been placed in the public domain.", PUBLIC_DOMAIN),
        (
            "# Use of this source code is governed by a BSD-style license that can be found in the LICENSE file.",
            None,
        ),
        ("# Licensed under either the MIT license or the Apache License 2.0.", "Apache-2.0 OR MIT"),
        (
            "/* BEGIN LICENSE BLOCK\n * Version: MPL 1.1/GPL 2.0/LGPL 2.1\n *\n"
            " * subject to the Mozilla Public License Version\n * 1.1",
            "MPL-1.1 OR GPL-2.0-or-later OR LGPL-2.1-or-later",
        ),
        (
            "# Unauthorized copying of this file is strictly prohibited.",
            "LicenseRef-scancode-proprietary-license",
        ),
        ("import licences\nlicence = None\n", None),
        ("\n" * 5000 + "# SPDX-License-Identifier: MIT", None),
    ],
)
def test_notice(head, licence):
    assert notice(head, "x.c") == licence


def test_prose_talks_of_licences_that_are_not_its_own():
    assert notice(APACHE_NOTICE, "guide.md") is None
    assert notice("<!-- SPDX-License-Identifier: MIT -->", "guide.md") == "MIT"
    own = ":Copyright: This document has been\n  placed in the public domain.\n\nLike Y, which is under the GPL."
    assert notice(own, "guide.txt") == PUBLIC_DOMAIN


# Manifests


@pytest.mark.parametrize(
    ("name", "text", "licence"),
    [
        ("package.json", '{"license": "MIT"}', "MIT"),
        ("package.json", '{"license": {"type": "ISC"}}', "ISC"),
        ("package.json", '{"licenses": [{"type": "MIT"}, {"type": "GPL-2.0"}]}', "GPL-2.0-only OR MIT"),
        ("package.json", "[" * 5000, None),
        ("package.json", '{"license": "SEE LICENSE IN x"}', None),
        (
            "composer.json",
            '{"license": ["LGPL-2.1-only", "GPL-3.0-or-later"]}',
            "GPL-3.0-or-later OR LGPL-2.1-only",
        ),
        ("pyproject.toml", '[project]\nlicense = "Apache-2.0 OR MIT"\n', "Apache-2.0 OR MIT"),
        (
            "pyproject.toml",
            '[project]\nlicense = {file = "LICENSE"}\nclassifiers = ["License :: OSI Approved :: MIT License"]',
            "MIT",
        ),
        ("pyproject.toml", '[tool.poetry]\nlicense = "BSD-2-Clause"\n', "BSD-2-Clause"),
        ("pyproject.toml", 'project = "no table"', None),
        ("Cargo.toml", '[package]\nlicense = "MIT/Apache-2.0"\n', "MIT OR Apache-2.0"),
        ("setup.py", "setup(\n  name='x',\n  license='BSD 2-Clause',\n)", "BSD-2-Clause"),
        (
            "setup.py",
            "setup(license=open('LICENSE').read(), classifiers=['License :: OSI Approved :: ISC License (ISCL)'])",
            "ISC",
        ),
        ("setup.cfg", "[metadata]\nlicense = Apache 2.0\n", "Apache-2.0"),
        ("PKG-INFO", "Metadata-Version: 2.1\nLicense: BSD-3-Clause\n", "BSD-3-Clause"),
        ("PKG-INFO", "Metadata-Version: 2.1\nLicense: UNKNOWN\n", None),
        ("PKG-INFO", "License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\n", "MIT"),
        ("x.gemspec", '  s.license = "MIT"\n', "MIT"),
        ("x.gemspec", '  s.licenses = ["MIT".freeze, "Ruby"]\n', "MIT OR Ruby"),
        ("x.podspec", "  s.license = { :type => 'MIT', :file => 'LICENSE' }", "MIT"),
        ("x.cabal", "name: x\nlicense: BSD3\nlicense-file: LICENSE\n", "BSD-3-Clause"),
        ("x.nuspec", '<license type="expression">MIT OR Apache-2.0</license>', "MIT OR Apache-2.0"),
        ("x.csproj", "<PackageLicenseExpression>MIT</PackageLicenseExpression>", "MIT"),
        (
            "pom.xml",
            "<licenses><license>\n<name>Apache License, Version 2.0</name><url>x</url></license></licenses>",
            "Apache-2.0",
        ),
        ("pom.xml", "<!-- <license><name>MIT</name></license> --><project/>", None),
        ("DESCRIPTION", "Package: x\nLicense: GPL (>= 3)\n", "GPL-3.0-or-later"),
        ("mix.exs", 'licenses: ["Apache-2.0"],', "Apache-2.0"),
        ("README", "nothing here", None),
    ],
)
def test_manifests(name, text, licence):
    assert stated(name, text) == licence


@given(
    st.sampled_from(
        ["package.json", "pyproject.toml", "PKG-INFO", "x.cabal", "setup.py", "pom.xml", "x.gemspec"]
    ),
    st.text() | st.text("license=:'\"[]{}(), MITGPL2<>/\n", max_size=200),
)
def test_any_manifest_has_an_answer(name, text):
    found = stated(name, text)
    assert found is None or parsed(found) is not None


# Repositories


@pytest.mark.parametrize(
    ("files", "path", "licence"),
    [
        ({}, "a.py", None),
        ({"LICENSE": MIT}, "src/deep/a.py", "MIT"),
        ({"LICENCE.md": MIT}, "a.py", "MIT"),
        ({"MIT-LICENSE.txt": MIT}, "a.py", "MIT"),
        ({"licences.py": MIT, "THIRD-PARTY-LICENSES": MIT, "license_header.txt": MIT}, "a.py", None),
        ({"LICENSE": APACHE_NOTICE, "vendor/x/LICENSE": MIT}, "vendor/x/y/a.c", "MIT"),
        ({"LICENSE": APACHE_NOTICE, "vendor/x/LICENSE": MIT}, "vendor/y/a.c", "Apache-2.0"),
        ({"LICENSE": MIT, "a.py": "# " + APACHE_NOTICE.replace("\n", "\n# ")}, "a.py", "Apache-2.0"),
        ({"LICENSE-MIT": MIT, "LICENSE-APACHE": APACHE_NOTICE}, "a.rs", "Apache-2.0 OR MIT"),
        ({"LICENSE-MIT": MIT, "COPYING": GPL_NOTICE}, "a.rs", "GPL-2.0-or-later AND MIT"),
        (
            {"LICENSE-MIT": MIT, "COPYING": GPL_NOTICE, "package.json": '{"license": "MIT OR GPL-2.0+"}'},
            "a.js",
            "MIT OR GPL-2.0-or-later",
        ),
        ({"LICENSE": MIT, "pkg/package.json": '{"license": "ISC"}'}, "pkg/a.js", "ISC"),
        ({"LICENSE": MIT, "pkg/package.json": '{"name": "x"}'}, "pkg/a.js", "MIT"),
        ({"LICENSE": OWN, "package.json": '{"license": "MIT"}'}, "a.js", UNKNOWN),
        ({"LICENSES/MIT.txt": "", "LICENSES/ISC.txt": ""}, "a.py", "ISC AND MIT"),
        ({"logo.svg.license": "SPDX-License-Identifier: CC0-1.0", "LICENSE": MIT}, "logo.svg", "CC0-1.0"),
        (
            {
                "REUSE.toml": 'version = 1\n[[annotations]]\npath = "doc/**"\nSPDX-License-Identifier = "CC-BY-4.0"\n',
                "LICENSE": MIT,
            },
            "doc/a/b.py",
            "CC-BY-4.0",
        ),
        (
            {
                "REUSE.toml": 'version = 1\n[[annotations]]\npath = ["*.py"]\nSPDX-License-Identifier = "ISC"\n',
                "LICENSE": MIT,
            },
            "doc/b.py",
            "MIT",
        ),
        (
            {".reuse/dep5": "Files: *\nLicense: MIT\n\nFiles: doc/*\nLicense: CC0-1.0\n"},
            "doc/x/a.py",
            "CC0-1.0",
        ),
        (
            {
                "debian/copyright": "Files: *\nCopyright: x\nLicense: GPL-2+\n\nFiles: lib/*\nLicense: Expat\n text"
            },
            "lib/a.c",
            "MIT",
        ),
        ({"README.md": "# X\n\nBest.\n\n## License\n\nMIT license, see there.\n"}, "a.py", "MIT"),
        ({"README.md": "# X\nlike Y, which is under the GPL\n", "LICENSE": MIT}, "a.py", "MIT"),
        ({"specifications/x.gemspec": 's.license = "MIT"'}, "lib/x.rb", "MIT"),
    ],
)
def test_licences_of_a_repository(files, path, licence):
    assert licences_of(files, path) == licence


@pytest.mark.skipif(not COMMON.is_dir(), reason="Debian's licence texts are not here")
def test_the_lesser_licence_beside_the_one_it_adds_to():
    files = {"COPYING": (COMMON / "GPL-3").read_text(), "COPYING.LESSER": (COMMON / "LGPL-3").read_text()}
    assert licences_of(files, "a.c") == "LGPL-3.0-only"


FILES = {
    "LICENSE": MIT,
    "a.py": "# SPDX-License-Identifier: ISC",
    "b/package.json": '{"license": "0BSD"}',
    "b/README": "License\n=======\nApache 2.0",
    "b/README.md": "# License\nISC license",
    "a.py.license": "SPDX-License-Identifier: Unlicense",
    "f/REUSE.toml": '[[annotations]]\npath = "**"\nSPDX-License-Identifier = "curl"\n',
    ".reuse/dep5": "Files: e/* f/*\nLicense: WTFPL\n",
    "c/LICENSE": OWN,
    "c/d/COPYING": GPL_NOTICE,
    "REUSE.toml": '[[annotations]]\npath = "e/*"\nSPDX-License-Identifier = "Zlib"\n',
}


@given(st.permutations(sorted(FILES)))
def test_the_order_of_looking_does_not_matter(names):
    paths = [*FILES, "b/x/y.js", "c/x.c", "c/d/e.c", "e/x.c", "f/g/x.c"]
    found = RepositoryLicences()
    for name in names:
        found.look(name, FILES[name])
    known = {path: licences_of(FILES, path) for path in paths}
    assert {path: found.of(path) for path in paths} == known
    assert known["c/x.c"] == UNKNOWN and known["e/x.c"] == "Zlib" and known["b/x/y.js"] == "0BSD"
    assert known["a.py"] == "Unlicense" and known["f/g/x.c"] == "curl"


def test_licences_of_the_sample_archives(shared_data):
    manifest = json.loads((shared_data / "repos" / "manifest.json").read_text())
    silent = {"lua", "empty-repo"}  # the one has its licence in a header file, the other nothing
    for entry in manifest:
        if entry["name"] in silent:
            continue
        path = str(shared_data / "repos" / entry["file"])
        found = [
            row["licence"]
            for row in read_repository(path, "s", licences=RepositoryLicences)
            if row["licence"]
        ]
        listed_as = tuple(entry["license"].replace("public domain", PUBLIC_DOMAIN).split(" / "))
        usual = max(set(found), key=found.count)
        assert usual.startswith(listed_as), entry["file"]


def test_hostile_files_cost_little():
    licence = "license " * 200_000
    statement = '{"license": "' + "MIT OR " * 200_000 + '"}'
    began = time.process_time()
    found = RepositoryLicences()
    found.look("LICENSE", MIT * 1000)
    found.look("x/LICENSE", licence)
    found.look("x/package.json", statement)
    found.look("y/README.md", "## License\n" * 100_000)
    found.look("y/setup.py", "license = " * 100_000)
    found.look("y/pom.xml", "<license>" * 100_000 + "<!--" * 100_000)
    found.look(
        "z/REUSE.toml", '[[annotations]]\npath = "' + "**a" * 60 + '"\nSPDX-License-Identifier = "MIT"\n'
    )
    found.look("debian/copyright", "Files: *\n " * 50_000)
    deep = "z/" + "a" * 2000 + "/b" * 60
    found.look(deep + "/x.py", "# permission is hereby granted " * 10_000)
    assert found.of("a.py") == "MIT" and found.of("x/a.py") == UNKNOWN
    assert found.of(deep + "/y.py") == "MIT"
    assert time.process_time() - began < 10


# Policy

IDS = ["MIT", "ISC", "GPL-2.0-only", "MPL-2.0", "Apache-2.0 WITH LLVM-exception"]
EXPRESSIONS = st.recursive(
    st.sampled_from(IDS),
    lambda inner: st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(
        lambda t: f"({t[0]} {t[1]} {t[2]})"
    ),
    max_leaves=6,
)


@given(EXPRESSIONS, st.sets(st.sampled_from(IDS)))
def test_the_policy_is_the_expressions_truth(expression, allowed):
    """Python's own `and` and `or` over the truth of each licence."""
    truth = expression.replace("AND", "and").replace("OR", "or")
    for name in sorted(IDS, key=len, reverse=True):
        truth = truth.replace(name, str(name in allowed))
    assert is_satisfied(expression, frozenset(allowed)) is eval(truth)
    for more in itertools.combinations(IDS, 1):  # allowing more never forbids
        assert not eval(truth) or is_satisfied(expression, frozenset(allowed) | set(more))


@pytest.mark.parametrize(
    ("expression", "allowed", "answer"),
    [
        ("MIT", {"MIT"}, True),
        ("Apache-2.0 WITH LLVM-exception", {"Apache-2.0"}, True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", {"GPL-2.0-only WITH Classpath-exception-2.0"}, True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", permissive(), False),
        ("GPL-2.0-or-later", {"GPL-3.0-only"}, True),
        ("GPL-3.0-or-later", {"GPL-2.0-only"}, False),
        ("GPL-2.0-only", {"GPL-2.0-or-later"}, False),
        ("LGPL-2.1-or-later OR MIT", permissive(), True),
        ("MIT AND LicenseRef-unknown", permissive(), False),
        ("not an expression (", permissive(), False),
    ],
)
def test_is_satisfied(expression, allowed, answer):
    assert is_satisfied(expression, frozenset(allowed)) is answer


def test_the_permissive_licences_are_scancodes():
    categories = {entry.get("spdx_license_key"): entry["category"] for entry in get_license_index()}
    assert (
        len(permissive()) >= 500
        and {"MIT", "Apache-2.0", "BSD-3-Clause", "CC0-1.0", PUBLIC_DOMAIN} <= permissive()
    )
    assert not permissive() & {
        "GPL-3.0-only",
        "MPL-2.0",
        "LGPL-2.1-only",
        "CC-BY-NC-4.0",
        "BUSL-1.1",
        UNKNOWN,
    }
    assert categories["MIT"] == "Permissive" and categories["MPL-2.0"] == "Copyleft Limited"


LICENCES = ["MIT", "GPL-3.0-only", None, UNKNOWN, "apache-2.0", "MIT OR GPL-2.0-only"]


@pytest.mark.parametrize(
    ("allow", "reasons"),
    [
        ("any", [None] * 6),
        ("permissive-or-none", [None, "licence_not_allowed", None, "licence_unknown", None, None]),
        ("permissive", [None, "licence_not_allowed", "licence_unknown", "licence_unknown", None, None]),
        (
            ["MIT"],
            [None, "licence_not_allowed", "licence_unknown", "licence_unknown", "licence_not_allowed", None],
        ),
    ],
)
def test_the_transform_says_why(allow, reasons):
    batch = pa.RecordBatch.from_pylist([{"licence": licence} for licence in LICENCES], FILE)
    (out,) = Licences(allow)(iter([batch]))
    assert out.column("reason").to_pylist() == reasons
    details = [
        None if reason is None else licence or "nothing says"
        for reason, licence in zip(reasons, LICENCES, strict=True)
    ]
    assert out.column("detail").to_pylist() == details


@pytest.mark.parametrize("allow", ["permissible", ["MTI"], ["MIT OR ISC"]])
def test_a_policy_that_is_none_is_an_error(allow):
    with pytest.raises(LodeError, match="allow"):
        Licences(allow)


# Lists of those who opted out


def test_opt_outs(tmp_path):
    (tmp_path / "list.txt").write_text(
        "# those who asked\nOwner/Repo  # since May\nsomeone\nhttps://github.com/A/B/tree/main\ngit@github.com:c/d.git\n"
        "https://gitlab.com/whole-group\n\n"
    )
    (tmp_path / "more.csv").write_text("repository,date\ne/f,2024\n")
    lists = (str(tmp_path / "list.txt"), str(tmp_path / "more.csv"))
    assert listed(lists) == {"owner/repo", "someone", "a/b", "c/d", "whole-group", "e/f"}
    for repository, entry in {
        "owner/repo": "owner/repo",
        "OWNER/REPO": "owner/repo",
        "github.com/owner/repo": "owner/repo",
        "someone/anything": "someone",
        "repo": "owner/repo",
        "Repo-1.2.3": "owner/repo",
        "d-main": "c/d",
        "owner/other": None,
        "other/repo": None,
        "repository": None,
        "": None,
    }.items():
        assert find(repository, listed(lists)) == entry, repository
    batch = pa.RecordBatch.from_pylist([{"repository": "E/F", "licence": "MIT"}, {"repository": "e/g"}], FILE)
    (out,) = Licences("any", lists)(iter([batch]))
    assert out.column("reason").to_pylist() == ["opted_out", None]
    assert out.column("detail").to_pylist() == ["e/f", None]


def test_a_large_list_is_read_once_and_a_bad_one_is_named(tmp_path):
    large = tmp_path / "large.txt"
    large.write_text("".join(f"owner{n}/repo{n}\n" for n in range(100_000)))
    rules = Licences("any", [str(large)])
    began = time.process_time()
    found = [rules.verdict(f"owner{n}/repo{n + n % 2}", None) for n in range(2000)]
    assert [verdict is not None for verdict in found] == [n % 2 == 0 for n in range(2000)]
    assert time.process_time() - began < 5
    with pytest.raises(LodeError, match=r"bad\.txt, line 2"):
        (tmp_path / "bad.txt").write_text("a/b\nnot a repository\n")
        listed((str(tmp_path / "bad.txt"),))
    with pytest.raises(LodeError, match="nowhere"):
        listed((str(tmp_path / "nowhere.txt"),))
