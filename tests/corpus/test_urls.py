"""URLs against the crawl's labels, the standard library's resolver and the `idna` package."""

import socket
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
        ("http:\\\\example.com\\a\\..\\b?c\\d", "http://example.com/b?c%5Cd"),
        ("https:example.com/a", "https://example.com/a"),
        ("HTTP:///example.com//a", "http://example.com//a"),
        ("//example.com/a", "//example.com/a"),
        ("http://example.com:0080/", "http://example.com/"),
        ("http://example.com:/", "http://example.com/"),
        ("https://example.com:80/", "https://example.com:80/"),
        ("http://example.com:99999/%7e", "http://example.com:99999/%7e"),
        ("ftp://example.com:21/a", "ftp://example.com/a"),
        ("http://user@evil@example.com/", "http://example.com/"),
        ("http://example.com。/a", "http://example.com/a"),
        ("http://ex\u00adample.com/", "http://example.com/"),
        ("http://%65xample.com/", "http://example.com/"),
        ("http://a：80/", "http://a：80/"),
        ("http://[::1%25eth0]/%7e", "http://[::1%25eth0]/~"),
        ("http://[1:2]/%7e", "http://[1:2]/%7e"),
        ("http://example.com/%2e%2E/a/%2e", "http://example.com/a/"),
        ("http://example.com/%%341?100%&50%zz", "http://example.com/%2541?100%25&50%25zz"),
        ("http://example.com/it's?q='a'", "http://example.com/it's?q=%27a%27"),
        ("http://example.com/?", "http://example.com/"),
        ("http://example.com/?&a=&&b&", "http://example.com/?a=&b"),
        ("file:///tmp/a b.html#x", "file:///tmp/a%20b.html"),
    ],
)
def test_canonical_spelling(url, expected):
    assert canonical_url(url) == expected


@pytest.mark.parametrize(
    "parameter",
    ["utm_source=x", "UTM_Campaign=x", "utm%5Fsource=x", "amp;utm_source=x", "gclid=x", "msclkid=x", "fbclid=x",
     "yclid=x", "dclid=x", "twclid=x", "ttclid=x", "mc_eid=x", "_ga=1.2", "_gl=1", "_hsenc=x",
     "hsCtaTracking=x", "hsa_acc=1", "mtm_campaign=x", "pk_campaign=x", "matomo_source=x", "wt_mc=x",
     "WT.mc_id=x", "igsh=x", "igshid=x", "s_kwcid=x", "li_fat_id=x", "mkt_tok=x", "trk=public_profile",
     "spm=a2c4e.1", "gbraid=x", "wbraid=x", "gad_source=1", "PHPSESSID=0", "jsessionid=0",
     "ASPSESSIONIDQQGQSTAC=A", "CFID=1", "CFTOKEN=2", "osCsid=x", "zenid=x", "session_id=abc123",
     "sid=0123456789abcdef", "sid=k4hv0q6r2mv8o7h2j8fk0k7c05", "s=" + "0123456789abcdef" * 2],
)  # fmt: skip
def test_what_says_nothing_about_the_page_goes(parameter):
    assert canonical_url(f"http://a.org/p?{parameter}") == "http://a.org/p"
    assert canonical_url(f"http://a.org/p?b=2&{parameter}&a=1") == "http://a.org/p?b=2&a=1"


@pytest.mark.parametrize(
    "parameter",
    ["ref=x", "source=x", "si=x", "from=x", "cid=x", "id=1", "sid=12", "s=proof", "euclid=3", "clidx=1",
     "utm=33N", "q=utm_x", "sessions=2", "session_id=1024", "trk=3", "pk_id=1", "xutm_source=1", "campaign=x",
     "page=2", "amp=1"],
)  # fmt: skip
def test_what_may_name_the_page_stays(parameter):
    assert canonical_url(f"http://a.org/p?{parameter}") == f"http://a.org/p?{parameter}"


@pytest.mark.parametrize(
    "path, expected",
    [
        ("/a;JSESSIONID=AB.c!9/b", "/a/b"),
        ("/a;v=1;jsessionid=x", "/a;v=1"),
        ("/(S(lit3py55t21z5v55vlm25s55))/a.aspx", "/a.aspx"),
        ("/(S(lit3py55t21z5v55vlm25s55))/..;sid=1/a", "/a"),
        ("/(S(sets))/a", "/(S(sets))/a"),
    ],
)
def test_sessions_in_paths_go(path, expected):
    assert canonical_url(f"http://a.org{path}") == f"http://a.org{expected}"


NUMBERS = st.integers(0, 2**33).flatmap(
    lambda n: st.sampled_from([str(n), hex(n), hex(n).upper(), f"0{n:o}", f"00{n:o}"])
)


@given(st.lists(NUMBERS | st.sampled_from(["0", "1", "255", "256", "0377", "0xFF"]), min_size=1, max_size=5))
def test_addresses_as_the_c_library_reads_them(labels):
    host = ".".join(labels)
    try:
        expected = socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        expected = host.lower()
    assert canonical_url(f"http://{host}/") == f"http://{expected}/"


@given(st.ip_addresses(v=6).map(lambda address: address.exploded), st.booleans())
def test_long_addresses_as_the_c_library_writes_them(address, upper):
    packed = socket.inet_pton(socket.AF_INET6, address)
    if packed[:10] == bytes(10):  # the C library writes the address of four that is in it
        return
    spelled = address.upper() if upper else address
    assert canonical_url(f"http://[{spelled}]/") == f"http://[{socket.inet_ntop(socket.AF_INET6, packed)}]/"


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
    monkeypatch.setattr(socket, "socket", None)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert registered_domain("http://never.seen.before.example.org/") == "example.org"
    assert list(tmp_path.iterdir()) == []


PIECES = st.sampled_from(
    ["http", "https", "foo", "file", ":", "/", "//", "\\", "?", "#", "@", "[", "]", "::1", "%", "%4", "%41",
     "%2e", "%2F", "%zz", ".", "..", "/../", "/./", "a", "B", "é", "。", "．", "：", "1", "0x7f", "256", ":80",
     ":0443", ":99999", "xn--", "ß", "İ", "&", "=", "utm_x", "sid=0123456789abcdef0", ";sid=1", ";jsessionid=",
     "/(S(abcdefghijklmnopqrstuvwx))", " ", "\t", "\ud800", "\u00ad", "'", '"', "|", "+", "amp;", "ſ", "％", "／",
     "\u3000", "%20", "%00", "%C3%A9", "%ff"]
)  # fmt: skip
URLS = st.one_of(
    st.text(max_size=60),
    st.lists(PIECES, max_size=12).map("".join),
    st.lists(PIECES, max_size=12).map(lambda pieces: "http://h/" + "".join(pieces)),
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


@pytest.mark.parametrize(
    "url",
    [
        "http://" + "".join(map(chr, range(0x4E00, 0x5500))) + "/",
        "http://" + "a\u0301\u0323" * 100_000,
        f"http://h:{'0' * 100_000}80/",
        f"http://{'9' * 100_000}/",
        "http://h/" + "/../a" * 100_000,
        "http://h/" + "/(S(abcdefghijklmnopqrstuvwx))" * 10_000,
        "http://h/?" + "&amp;" * 100_000,
        "http:" + "/" * 1_000_000,
        "a" * 1_000_000 + ":",
    ],
    ids=range(9),
)
def test_hostile_urls_cost_linear_time(url):
    assert canonical_url(canonical_url(url)) == canonical_url(url)
