"""URLs against the crawl's labels, the standard library's resolver and the `idna` package."""

import urllib.parse

import duckdb
import idna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.urls import canonical_url, host_and_path, registered_domain


@pytest.mark.parametrize(
    "url, expected",
    [
        ("HTTP://User:pw@ExAmple.COM:80/a/../b/./c?b=2&a=%7e#frag", "http://example.com/b/c?b=2&a=~"),
        ("https://example.com", "https://example.com/"),
        ("https://example.com:443/?utm_source=x&id=3&fbclid=abc", "https://example.com/?id=3"),
        ("https://example.com:8443/", "https://example.com:8443/"),
        ("https://example.com/a;jsessionid=AB12?x", "https://example.com/a?x"),
        ("https://example.com/%e3%81%82/ü ä", "https://example.com/%E3%81%82/%C3%BC%20%C3%A4"),
        ("https://example.com/a%2Fb%41", "https://example.com/a%2FbA"),
        ("https://example.com./x", "https://example.com/x"),
        ("http://[2001:DB8::1]:80/", "http://[2001:db8::1]/"),
        ("http://example.com/?q=a+b&q=%2B", "http://example.com/?q=a+b&q=%2B"),
        ("mailto:someone@example.com", "mailto:someone@example.com"),
        ("  not a url ", "not%20a%20url"),
    ],
)
def test_canonical_spelling(url, expected):
    assert canonical_url(url) == expected


@pytest.mark.parametrize(
    "path", ["/a/b/c/./../../g", "/mid/content=5/../6", "/a/..", "/../x", "/a/./b/.", "/a//../b"]
)
def test_dot_segments_as_the_standard_library_resolves_them(path):
    expected = urllib.parse.urlsplit(urllib.parse.urljoin("http://h/", path)).path
    assert urllib.parse.urlsplit(canonical_url("http://h" + path)).path == expected


@pytest.mark.parametrize(
    "host", ["münchen.de", "straße.de", "例え.テスト", "ΒΌΛΟΣ.com", "ＦＵＬＬ.ＷＩＤＴＨ"]
)
def test_international_hosts_as_idna_writes_them(host):
    assert host_and_path(f"http://{host}/")[0] == idna.encode(host, uts46=True).decode()


def test_domains_of_the_crawl(shared_data):
    """As labelled, but for hosting domains whose standing on the list changes from year to year."""
    rows = duckdb.sql(f"select distinct url, domain from '{shared_data}/web/labels.parquet'").fetchall()
    hosting = ("wordpress.com", "sourceforge.net", "sourceforge.io", "service.gov.uk", "tuxfamily.org")
    plain = [(url, domain) for url, domain in rows if not domain.endswith(hosting)]
    assert len(plain) > 4000
    assert [row for row in plain if registered_domain(row[0]) != row[1]] == []


@pytest.mark.parametrize(
    "url, domain",
    [
        ("https://a.b.example.co.uk/x", "example.co.uk"),
        ("https://alice.github.io/x", "alice.github.io"),
        ("https://github.io/", "github.io"),
        ("http://127.0.0.1:8000/", "127.0.0.1"),
        ("http://[::1]/", "::1"),
        ("http://localhost/", "localhost"),
        ("file:///tmp/x.html", ""),
        ("nonsense", ""),
        ("http://[broken/", ""),
    ],
)
def test_registered_domain(url, domain):
    assert registered_domain(url) == domain


def test_host_and_path():
    assert host_and_path("HTTPS://Ex.org:99/a/b?c#d") == ("ex.org", "/a/b")
    assert host_and_path("http://ex.org") == ("ex.org", "/")


def test_no_network_and_no_cache(monkeypatch, tmp_path):
    import socket

    monkeypatch.setattr(socket, "socket", None)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert registered_domain("http://never.seen.before.example.org/") == "example.org"
    assert list(tmp_path.iterdir()) == []


URLS = st.one_of(
    st.text(max_size=60),
    st.builds(
        lambda s, h, p, q: f"{s}://{h}/{p}?{q}",
        st.sampled_from(["http", "HTTPS", "ftp"]),
        st.text(max_size=15),
        st.text(max_size=30),
        st.text(max_size=30),
    ),
)


@given(URLS)
def test_canonical_is_stable_and_never_raises(url):
    once = canonical_url(url)
    assert canonical_url(once) == once
    once.encode("utf-8")
    registered_domain(url), host_and_path(url)
