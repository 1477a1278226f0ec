"""Opt-out signals against what the directives' own documentation shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.opt_out import signals

PAGES = {
    '<meta name="robots" content="noai, noimageai">': ["noai", "noimageai"],
    "<META CONTENT='NOINDEX,NOFOLLOW' NAME='ROBOTS'>": ["noindex"],
    "<meta name=robots content=none />": ["noindex"],
    '<meta name="robots" content="index, follow, max-image-preview:large">': [],
    '<meta name="robots" content="max-snippet:0">': ["nosnippet"],
    '<meta name="robots" content="max-snippet: -1, max-video-preview: -1">': [],
    '<meta name="googlebot" content="noindex"><meta name="GPTBot" content="noai">': [
        "googlebot:noindex", "gptbot:noai",
    ],
    '<meta name="tdm-reservation" content="1"><meta name="tdm-policy" content="https://a.org/p.json">': [
        "tdm-policy", "tdm-reservation",
    ],
    '<meta name="tdm-reservation" content="0"><meta name="tdm-policy" content="https://a.org/p.json">': [],
    '<meta name="description" content="how to write noindex, noai">': [],
    '<meta name="keywords" content="noai">': [],
    '<!-- <meta name="robots" content="noindex"> -->': [],
    "<script>document.write('<meta name=\"robots\" content=\"noindex\">')</script>": [],
    "<p>noindex noai tdm-reservation 1</p>": [],
    '<body><p>x</p><meta name="robots" content="noarchive">': ["noarchive"],
}  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
def test_meta_tags(page):
    assert signals((), page) == PAGES[page]


# From Google's "Robots meta tag" page, the TDM Reservation Protocol and the drafts of IETF's aipref.
HEADERS = [
    ([("X-Robots-Tag", "noindex")], ["noindex"]),
    ([("X-Robots-Tag", "googlebot: nofollow"), ("X-Robots-Tag", "otherbot: noindex, nofollow")], ["otherbot:noindex"]),
    ([("X-Robots-Tag", "noarchive, googlebot: nosnippet, noimageindex")],
     ["googlebot:noimageindex", "googlebot:nosnippet", "noarchive"]),
    ([("X-Robots-Tag", "unavailable_after: 25 Jun 2010 15:00:00 PST")], []),
    ([("TDM-Reservation", "1")], ["tdm-reservation"]),
    ([("TDM-Reservation", " 0 ")], []),
    ([("Content-Usage", "train-ai=n")], ["train-ai=n"]),
    ([("Content-Usage", "train-ai=y")], []),
    ([("Content-Signal", "search=yes, ai-train=no")], ["train-ai=n"]),
]  # fmt: skip


@pytest.mark.parametrize("headers, expected", HEADERS)
def test_headers(headers, expected):
    assert signals(headers, "") == expected


def test_headers_and_page_are_one_list():
    page = '<meta name="robots" content="noai, noindex">'
    assert signals([("X-Robots-Tag", "noindex, noarchive")], page) == ["noai", "noarchive", "noindex"]


@given(
    st.lists(st.tuples(st.sampled_from(["X-Robots-Tag", "TDM-Policy", "Content-Usage"]), st.text())),
    st.text(),
)
def test_any_text_gives_a_sorted_list(headers, page):
    found = signals(headers, page + "<meta name='robots' content='noai'>" if "<" not in page else page)
    assert found == sorted(set(found))


@pytest.mark.parametrize(
    "piece", ["<meta ", "<!--", "<script>", "<meta name=robots content='noai,", 'a="', "<meta a='"]
)
def test_a_megabyte_of_tag_soup_is_read_in_one_pass(piece):
    """Would take hours if any piece were looked for again from every other."""
    page = "<meta name='robots' content='noarchive'>" + piece * ((1 << 20) // len(piece))
    assert "noarchive" in signals((("X-Robots-Tag", page),), page)
