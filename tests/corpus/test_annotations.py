import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.annotations import (
    DECISIONS,
    Annotation,
    as_toml,
    merge,
    plain_prefix,
    read_annotations,
    write_annotations,
)
from corpus.errors import LodeError


def test_a_prefix_is_written_as_pages_are():
    assert (
        plain_prefix("https://Site.org:443/questions/")
        == "site.org/questions"
        == plain_prefix("site.org/questions")
    )
    assert plain_prefix("site.org/") == "site.org"


def annotations(tmp_path, text):
    path = tmp_path / "annotations.toml"
    path.write_text(text)
    return str(path)


def test_annotations_are_read(tmp_path):
    path = annotations(
        tmp_path,
        '[[path]]\ntarget = "math"\nprefix = "https://MathOverflow.net/questions/"\ndecision = "accept"\nround = 2\n'
        'note = "seen by me"\n[[path]]\ntarget = "math"\nprefix = "mathoverflow.net/users"\ndecision = "reject"\n',
    )
    assert read_annotations(path) == [
        Annotation("math", "mathoverflow.net/questions", "accept", 2, "seen by me"),
        Annotation("math", "mathoverflow.net/users", "reject", 1),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[path", "not TOML"),
        ('[[paths]]\ntarget = "m"', "'paths' is not known"),
        ('[[path]]\ntarget = "m"\nprefix = "a.org"', "number 1: decision is missing"),
        ('[[path]]\ntarget = "m"\nprefix = "a.org"\ndecision = "yes"', "accept, reject, skip"),
        ('[[path]]\ntarget = "m"\nprefix = "a.org"\ndecision = "accept"\nround = 0', "a whole number from 1"),
        ('[[path]]\ntarget = "m"\nprefix = 3\ndecision = "accept"', "prefix is 3"),
        ('[[path]]\ntarget = "m"\nprefix = "/"\ndecision = "accept"', "an address such as"),
        ("path = 3", "no list of tables"),
        ('[[path]]\ntarget = "m"\nprefix = "a.org"\ndecision = "accept"\nwhy = "x"', "'why' is not known"),
    ],
)
def test_faulty_annotations_are_a_sentence(tmp_path, text, said):
    with pytest.raises(LodeError, match=said):
        read_annotations(annotations(tmp_path, text))


def test_missing_annotations_are_a_sentence(tmp_path):
    with pytest.raises(LodeError, match="no such file of annotations"):
        read_annotations(str(tmp_path / "none.toml"))


PLACES = st.from_regex(r"[a-z]{1,9}\.example(/[a-z0-9_.~-]{1,9}){0,3}", fullmatch=True).map(plain_prefix)
ANNOTATIONS = st.builds(
    Annotation,
    st.text(min_size=1),
    PLACES,
    st.sampled_from(DECISIONS),
    st.integers(1, 99),
    st.text(),
    st.text(st.characters(codec="utf-8")),
)


@given(st.lists(ANNOTATIONS))
def test_what_is_written_is_read_again(tmp_path_factory, annotations):
    """Whatever a note holds: quotes, line breaks, control characters, halves of surrogate pairs."""
    path = str(tmp_path_factory.mktemp("a") / "annotations.toml")
    write_annotations(path, annotations)
    found = read_annotations(path)
    assert as_toml(found) == as_toml(annotations)

    def plain(text):
        return text.encode("utf-8", "replace").decode()

    wanted = [
        (plain(a.target), a.prefix, a.decision, a.round, plain(a.note), a.reviewer) for a in annotations
    ]
    got = [(a.target, a.prefix, a.decision, a.round, a.note, a.reviewer) for a in found]
    assert sorted(got) == sorted(wanted)


@given(st.lists(ANNOTATIONS, max_size=6), st.randoms())
def test_the_order_of_decisions_does_not_change_the_file(annotations, random):
    shuffled = list(annotations)
    random.shuffle(shuffled)
    assert as_toml(shuffled) == as_toml(annotations)
    assert tomllib.loads(as_toml(annotations)) is not None


def test_files_of_several_reviewers_become_one(tmp_path):
    def file(name, *annotations):
        write_annotations(str(tmp_path / name), annotations)
        return str(tmp_path / name)

    ana = file(
        "ana.toml",
        Annotation("m", "a.example", "accept", 3, "good", "ana"),
        Annotation("m", "b.example", "accept", 3, "", "ana"),
        Annotation("m", "c.example", "skip", 3, "", "ana"),
    )
    ben = file(
        "ben.toml",
        Annotation("m", "a.example", "accept", 2, "fine", "ben"),
        Annotation("m", "b.example", "reject", 3, "spam", "ben"),
        Annotation("m", "c.example", "reject", 3, "", "ben"),
    )
    merged, conflicts = merge([ana, ben])
    assert merged == [
        Annotation("m", "a.example", "accept", 2, "good; fine", "ana, ben"),
        Annotation("m", "c.example", "reject", 3, "", "ben"),
    ]
    assert [(c.prefix, [a.decision for a in c.said]) for c in conflicts] == [
        ("b.example", ["accept", "reject"])
    ]
    assert merge([ben, ana])[0] == [
        Annotation("m", "a.example", "accept", 2, "fine; good", "ben, ana"),
        Annotation("m", "c.example", "reject", 3, "", "ben"),
    ]


def test_a_place_that_can_not_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LodeError, match="can not be written"):
        write_annotations(str(tmp_path / "file" / "annotations.toml"), [])
