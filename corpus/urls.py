"""URLs: one spelling for each page, and the registered domain it belongs to."""

import functools
import ipaddress
import re
import unicodedata
import urllib.parse

import tldextract

# Campaign and click identifiers: they say how a reader came, never what the page is. Names that also mean other
# things (`ref`, `source`, `from`, `si`, `cid`) are none.
_TRACKING_NAMES = """
    gclid gclsrc dclid gbraid wbraid gad_source gad_campaignid srsltid _ga _gl fbclid fb_action_ids fb_action_types
    fb_source fb_ref igshid igsh msclkid yclid ysclid _openstat twclid ref_src ttclid tt_medium tt_content li_fat_id
    trkcampaign trkinfo epik sccid rdt_cid qclid mc_cid mc_eid mc_tc _hsenc _hsmi __hssc __hstc __hsfp hsctatracking
    mkt_tok elqtrack elqtrackid oly_anon_id oly_enc_id vero_id vero_conv _ke _kx __s ml_subscriber
    ml_subscriber_hash dm_i _bta_tid _bta_c spm s_kwcid s_cid ef_id cjevent irclickid rb_clickid zanpid wickedid
    unicorn_click_id dicbo tblci pk_campaign pk_kwd pk_keyword pk_source pk_medium pk_content pk_cid ga_source
    ga_medium ga_term ga_content ga_campaign ga_place itm_source itm_medium itm_campaign itm_content itm_term xtor
    at_medium at_campaign at_custom1 at_custom2 at_custom3 at_custom4 trk_contact trk_msg trk_module trk_sid
    guccounter guce_referrer guce_referrer_sig _branch_match_id _branch_referrer twitter_impression
    __twitter_impression jsessionid phpsessid cfid cftoken oscsid xtcsid zenid
"""
_TRACKING = frozenset(_TRACKING_NAMES.split())
_TRACKING_PREFIXES = (
    "utm_", "mtm_", "matomo_", "piwik_", "hsa_", "wt_mc", "wt_zmc", "wt_cc", "wt.", "bsft_", "pf_rd_", "pd_rd_",
    "aspsessionid",
)  # fmt: skip
# Names that say more than one thing, and the values that tell: a short number names a session of a conference, or a
# piece of music.
_NOT_A_NUMBER = re.compile(r"(?![0-9]{0,9}\Z).*", re.S)
_TELLING = {
    "session_id": _NOT_A_NUMBER,
    "sessionid": _NOT_A_NUMBER,
    "sessid": _NOT_A_NUMBER,
    "trk": _NOT_A_NUMBER,
    "sid": re.compile(r"[0-9a-f]{16,}|(?=.*[0-9])(?=.*[a-z])[0-9a-z]{26,}", re.I),
    "s": re.compile(r"[0-9a-f]{32}", re.I),
}
_SESSION_PATH = re.compile(r";(?:jsessionid|phpsessid|sid|cfid|cftoken)=[^/?#;]*", re.I)
_SESSION_FOLDER = re.compile(r"(?:/\(S\([a-z0-9]{24}\)\))+(?=/)")  # ASP.NET without cookies
# Browsers take any number of slashes of either kind in these.
_WEB = re.compile(r"(https?|ftp|wss?):[/\\]*([^/\\?#]*)([^?#]*)(?:\?([^#]*))?", re.I | re.A)
_FILE = re.compile(r"file:(?://([^/?#]*))?([^?#]*)", re.I | re.A)
_OTHER = re.compile(r"(?:([a-z][a-z0-9+.-]*):)?//([^/?#]*)([^?#]*)(?:\?([^#]*))?", re.I | re.A)
_DEFAULT_PORTS = {"http": "80", "https": "443", "ftp": "21", "ws": "80", "wss": "443"}
_FORBIDDEN_IN_HOST = re.compile(r"[\x00-\x20\x7f#/:<>?@\\^|%\[\]\ud800-\udfff\ufffd]")
# UTS 46 maps them to nothing.
_IGNORED_IN_HOST = re.compile("[\u00ad\u034f\u180b-\u180f\u200b\u2060\u2064\ufe00-\ufe0f\ufeff]")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
# What the domain name system allows; each character may come as a few escapes.
_MAX_NAME = 253
_MAX_HOST = 9 * _MAX_NAME
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PATH, _QUERY = "/:@!$&'()*+,;=", "/:@!$&()*+,;=?"  # browsers escape the apostrophe in queries
_PLAIN_PATH, _PLAIN_QUERY = (
    re.compile(f"[A-Za-z0-9._~{re.escape(safe)}-]*").fullmatch for safe in (_PATH, _QUERY)
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
# The snapshot that ships with the package: no network, no cache on disk, the same answer everywhere.
# Private suffixes count (`alice.github.io` and `bob.github.io` are two publishers).
_suffixes = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=(), include_psl_private_domains=True)


def canonical_url(url: str) -> str:
    """One spelling of `url` for all that name the same page (RFC 3986, 6.2; WHATWG URL for hosts and slashes).

    Lower-case scheme and host, IDNA host, addresses in their usual form, no default port, user or fragment, resolved
    dot segments, only necessary escapes and these in upper case, no tracking parameters or session ids; the others
    keep their order.
    Scheme, `www.` and a trailing slash stay as they are: servers are free to give them meaning.
    What is no hierarchical URL is returned with its blanks and control characters removed. Never raises.
    """
    url = _CONTROL.sub("", url).strip(" ").replace(" ", "%20")
    parts = _split(url)
    if parts is None:
        return url
    scheme, authority, path, query = parts
    if scheme == "file":
        return f"file://{authority}{path}"
    host, port = _host_and_port(authority)
    if not host or port is None:
        return url
    if port and port != _DEFAULT_PORTS.get(scheme):
        host = f"{host}:{port}"
    if not _PLAIN_PATH(path):
        path = _escape(path, _PATH)
    path = _without_dots(path)
    if ";" in path or "(S(" in path:
        path = _without_dots(_SESSION_FOLDER.sub("", _SESSION_PATH.sub("", path)))
    if query:
        if not _PLAIN_QUERY(query):
            query = _escape(query, _QUERY)
        query = "&".join([pair for pair in query.split("&") if pair and not _is_noise(pair)])
    start = f"{scheme}://" if scheme else "//"
    return f"{start}{host}{path or '/'}?{query}" if query else f"{start}{host}{path or '/'}"


def _split(url: str) -> tuple[str, str, str, str | None] | None:
    """Scheme, authority, path and query of a hierarchical URL (RFC 3986, appendix B)."""
    found = _WEB.match(url)
    if found:
        scheme, authority, path, query = found.groups()
        return scheme.lower(), authority, path.replace("\\", "/"), query
    found = _FILE.match(url)
    if found:
        return "file", found[1] or "", f"/{found[2].removeprefix('/')}", None
    found = _OTHER.match(url)
    return ((found[1] or "").lower(), found[2], found[3], found[4]) if found else None


def _host_and_port(authority: str) -> tuple[str, str | None]:
    """The host as `ascii_host` writes it, an address of six in brackets, and the port's digits (None: no port)."""
    host = authority.rpartition("@")[2]
    if host.startswith("["):
        host, bracket, port = host[1:].partition("]")
        try:
            host = f"[{ipaddress.IPv6Address(host).compressed}]" if bracket and host.isascii() else ""
        except ValueError:
            host = ""
        if port and port[0] != ":":
            host = ""
        port = port[1:]
    else:
        host, _, port = host.partition(":")
        host = ascii_host(host)
    digits = port.lstrip("0") or port[:1]
    is_port = not port or (port.isascii() and port.isdigit() and len(digits) <= 5 and int(digits) < 65536)
    return host, digits if is_port else None


def ascii_host(host: str) -> str:
    """A host in lower case and ASCII (`xn--` labels), without the root's dot, numbers as an IPv4 address.

    A host with forbidden characters, or far too long, comes back in lower case only.
    """
    return _ascii_host(host) if len(host) <= _MAX_HOST else host.lower()


@functools.lru_cache(maxsize=1 << 16)
def _ascii_host(host: str) -> str:
    mapped = host.lower()
    if not mapped.isascii() or "%" in mapped:
        # UTS 46 without transitional mappings, as browsers do it: sharp s and final sigma keep their own names.
        mapped = unicodedata.normalize("NFKC", urllib.parse.unquote(host)).lower()
        mapped = _IGNORED_IN_HOST.sub("", unicodedata.normalize("NFKC", mapped)).replace("\u3002", ".")
    mapped = mapped.rstrip(".")
    if _FORBIDDEN_IN_HOST.search(mapped) or (len(mapped) > _MAX_NAME and not mapped.isascii()):
        return host.lower()
    if not mapped.isascii():
        mapped = ".".join(
            label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii")
            for label in mapped.split(".")
        )
    return _ipv4(mapped) or mapped


def _ipv4(host: str) -> str | None:
    """The address that a browser reads in a host whose last label is a number: `0x7f.1` is 127.0.0.1."""
    labels = host.split(".")
    if len(labels) > 4 or len(host) > 60 or not all(map(_NUMBER.fullmatch, labels)):
        return None
    try:
        *first, last = (_number(label) for label in labels)
    except ValueError:
        return None
    if max(first, default=0) > 255 or last >= 256 ** (4 - len(first)):
        return None
    return str(ipaddress.IPv4Address(last + sum(byte << 8 * (3 - place) for place, byte in enumerate(first))))


def _number(label: str) -> int:
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    return int(label, 8 if label.startswith("0") else 10)


def _is_noise(pair: str) -> bool:
    """Whether a parameter says how a reader came, or who it is, and not what the page is."""
    name, _, value = pair.partition("=")
    name = name.lower().removeprefix("amp;")  # links copied out of HTML
    if name in _TRACKING or name.startswith(_TRACKING_PREFIXES):
        return True
    telling = _TELLING.get(name)
    return telling is not None and telling.fullmatch(value) is not None


def registered_domain(url: str) -> str:
    """The domain somebody registered: one label more than the public suffix of the URL's host.

    An IP address, a host without a public suffix, and a host that is itself one are returned whole; a URL
    without a host gives the empty string.
    """
    return _domain_of(_host(url))


def host_and_path(url: str) -> tuple[str, str]:
    """Host (ASCII, lower case, no port) and path (`/` at least) of a URL."""
    parts = _split(url.strip())
    return _host(url), (parts[2] if parts else "") or "/"


def _host(url: str) -> str:
    parts = _split(url.strip())
    return _host_and_port(parts[1])[0].strip("[]") if parts else ""


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
    """Percent-encoding at its least: unreserved characters bare, others as upper-case escapes, also a stray `%`."""
    return urllib.parse.quote(_ESCAPE.sub(_unescape_one, text), safe=safe + "%")


def _unescape_one(found: re.Match[str]) -> str:
    if found[1] is None:
        return "%25"
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
