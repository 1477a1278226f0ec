"""What a page states about itself."""

import pytest
from lxml import etree

from corpus.page_facts import stated_date, stated_title

STATED = {
    "<meta property='article:published_time' content='2021-03-04T05:06:07Z'>": "2021-03-04",
    "<meta name=citation_publication_date content='2021/03/04'>": "2021-03-04",
    "<meta itemprop=datePublished content='20210304'>": "2021-03-04",
    "<meta name=date content='2020-01-01'><meta property='article:published_time' content='2021-03-04'>": "2021-03-04",
    '<script type="application/ld+json">{"datePublished" : "2021-03-04T00:00"}</script>': "2021-03-04",
    "<time pubdate datetime='2021-03-04'>yesterday</time>": "2021-03-04",
    "<time pubdate>soon</time><time pubdate datetime='2021-03-04'>then</time>": "2021-03-04",
    "<time datetime='2021-03-04'>some day</time>": None,
    "<meta name=date content='2021-13-44'>": None,
    "<meta name=date content='March 4th'>": None,
    "<meta name=date>": None,
}


@pytest.mark.parametrize("html", STATED)
def test_dates(html):
    assert stated_date(etree.HTML(f"<html><head>{html}</head><body>x</body></html>"), html) == STATED[html]


def test_titles():
    assert stated_title("<title>\n A &amp; B </title><svg><title>no</title></svg>") == "A & B"
    assert stated_title("<title> </title>") is None and stated_title("<p>x") is None
