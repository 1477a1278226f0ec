"""URLs: one spelling for each page, and the registered domain it belongs to."""

import functools
import ipaddress
import re
import unicodedata
import urllib.parse

import tldextract

# Campaign and click identifiers: they say how a reader came, never what the page is.
_TRACKING = re.compile(
    r"utm_\w+|[a-z_]*clid|igshid|[gw]braid|li_fat_id|_g[al]|_hs(?:enc|mi)|mc_[ce]id|mkt_tok"
    r"|oly_(?:anon|enc)_id|vero_id|spm|ref_src|phpsessid|jsessionid|sessionid",
    re.I,
)
_SESSION_PATH = re.compile(r";(?:jsessionid|phpsessid|sid)=[^/?#;]*", re.I)
_FORBIDDEN_IN_HOST = re.compile(r"[\x00-\x20\x7f#/<>?@\\^|%\[\]\ud800-\udfff\ufffd]")
_DEFAULT_PORTS = {"http": 80, "https": 443, "ftp": 21}
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
# The snapshot that ships with the package: no network, no cache on disk, the same answer everywhere.
# Private suffixes count (`alice.github.io` and `bob.github.io` are two publishers).
_suffixes = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=(), include_psl_private_domains=True)


def canonical_url(url: str) -> str:
    """One spelling of `url` for all that name the same page (RFC 3986, 6.2; WHATWG URL for hosts).

    Lower-case scheme and host, IDNA host, no default port, user or fragment, resolved dot segments, only
    necessary escapes and these in upper case, no tracking parameters or session ids; the others keep their
    order.
    Scheme, `www.` and a trailing slash stay as they are: servers are free to give them meaning.
    What is no hierarchical URL is returned with its blanks and control characters removed. Never raises.
    """
    url = _CONTROL.sub("", url).strip(" ").replace(" ", "%20")
    try:
        parts = urllib.parse.urlsplit(url)
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError:
        return url
    if scheme == "file":
        return urllib.parse.urlunsplit((scheme, parts.netloc, parts.path, "", ""))
    if not host:
        return url
    netloc = ascii_host(host)
    if ":" in netloc:
        netloc = f"[{netloc}]"
    if port is not None and port != _DEFAULT_PORTS.get(scheme):
        netloc = f"{netloc}:{port}"
    path = _without_dots(_SESSION_PATH.sub("", _escape(parts.path, "/:@!$&'()*+,;="))) or "/"
    pairs = _escape(parts.query, "/:@!$&'()*+,;=?").split("&")
    query = "&".join(pair for pair in pairs if pair and not _TRACKING.fullmatch(pair.split("=", 1)[0]))
    return urllib.parse.urlunsplit((scheme, netloc, path, query, ""))


@functools.lru_cache(maxsize=1 << 16)
def ascii_host(host: str) -> str:
    """A host in lower case and ASCII (`xn--` labels), without the root's dot; a forbidden one only in lower case."""
    # UTS 46 without transitional mappings, as browsers do it: sharp s and final sigma keep their own names.
    mapped = unicodedata.normalize("NFKC", urllib.parse.unquote(host)).lower().rstrip(".")
    if _FORBIDDEN_IN_HOST.search(mapped):
        return host.lower()
    labels = re.split("[.\u3002\uff0e\uff61]", mapped)
    return ".".join(
        label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii") for label in labels
    )


def registered_domain(url: str) -> str:
    """The domain somebody registered: one label more than the public suffix of the URL's host.

    An IP address, a host without a public suffix, and a host that is itself one are returned whole; a URL
    without a host gives the empty string.
    """
    return _domain_of(_host(url))


def host_and_path(url: str) -> tuple[str, str]:
    """Host (ASCII, lower case, no port) and path (`/` at least) of a URL."""
    try:
        path = urllib.parse.urlsplit(url).path
    except ValueError:
        path = ""
    return _host(url), path or "/"


def _host(url: str) -> str:
    try:
        return ascii_host(urllib.parse.urlsplit(url.strip()).hostname or "")
    except ValueError:
        return ""


@functools.lru_cache(maxsize=1 << 16)
def _domain_of(host: str) -> str:
    if not host or _is_address(host):
        return host
    return _suffixes.extract_str(host).top_domain_under_public_suffix or host


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _escape(text: str, safe: str) -> str:
    """Percent-encoding at its least: unreserved characters bare, others as upper-case escapes."""
    if text.isascii() and "%" not in text and _UNRESERVED.issuperset(text.replace("/", "").replace("=", "")):
        return text
    bare = _ESCAPE.sub(_unescape_one, text)
    return urllib.parse.quote(bare, safe=safe + "%", errors="replace")


def _unescape_one(found: re.Match[str]) -> str:
    char = chr(int(found[1], 16))
    return char if char in _UNRESERVED else found[0].upper()


def _without_dots(path: str) -> str:
    """RFC 3986, 5.2.4."""
    if "/." not in path:
        return path
    out: list[str] = []
    segments = path.split("/")
    for index, segment in enumerate(segments):
        if segment in (".", ".."):
            if segment == ".." and len(out) > 1:
                out.pop()
            if index == len(segments) - 1:
                out.append("")
        else:
            out.append(segment)
    return "/".join(out)
