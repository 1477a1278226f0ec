"""What a page's publisher asks of those who copy it: robots directives, `noai`, TDM reservation.

A signal is a directive in lower case (`noindex`, `noarchive`, `nosnippet`, `noimageindex`, `nocache`, `noai`,
`noimageai`, `noml`), `tdm-reservation` (W3C TDMRep, with `tdm-policy` where terms are named) or `train-ai=n` (IETF AI
preferences). What is said to one crawler only carries its name: `gptbot:noindex`.
"""

import html as entities
import re
from collections.abc import Iterable

# HTTP headers that can hold a signal.
HEADERS = ("X-Robots-Tag", "TDM-Reservation", "TDM-Policy", "Content-Usage", "Content-Signal")
_DIRECTIVES = frozenset(
    ("noindex", "noarchive", "nosnippet", "noimageindex", "nocache", "noai", "noimageai", "noml")
)
KNOWN = _DIRECTIVES | {"tdm-reservation", "tdm-policy", "train-ai=n"}
# Directives with a value, whose colon does not follow a crawler's name.
_VALUED = ("max-snippet", "max-image-preview", "max-video-preview", "unavailable_after", "max-age")
_AGENT = re.compile(r"[a-z][a-z0-9._ -]{1,40}")
_PREFERENCE = re.compile(r"\b(?:train-ai|ai-train)\s*=\s*(?:n|no)\b", re.I)
_TAG = re.compile(r"<(?:!--|meta\b|script\b|style\b)", re.I)
_ATTRIBUTE = re.compile(
    r"""([a-z][a-z-]{0,40})\s{0,20}=\s{0,20}(?:"([^"]{0,1000})"|'([^']{0,1000})'|([^\s"'>]{1,1000}))""", re.I
)
_CLOSINGS = {"<!--": "-->", "<script": "</script", "<style": "</style"}
# Names of meta tags that are no crawlers, though their content may read like a directive.
_TDM = {"tdm-reservation": "TDM-Reservation", "tdm-policy": "TDM-Policy"}
_BOT = re.compile(
    r"robots|.{0,40}(?:bot|crawler|spider|slurp|-extended|teoma|msnbot|-user|-agent)(?:-\w{1,20})?"
)


def signals(headers: Iterable[tuple[str, str]], html: str) -> list[str]:
    """The distinct signals of a page's HTTP headers (name, value) and its meta tags, sorted."""
    found: set[str] = set()
    reserved, has_policy = False, False
    for name, value in (*headers, *_metas(html)):
        name = name.lower()
        if name == "tdm-reservation":
            reserved = reserved or value.strip() == "1"
        elif name == "tdm-policy":
            has_policy = has_policy or bool(value.strip())
        elif name in ("content-usage", "content-signal"):
            if _PREFERENCE.search(value):
                found.add("train-ai=n")
        elif name == "x-robots-tag":
            found.update(_directives(value, ""))
        else:
            found.update(_directives(value, "" if name == "robots" else f"{name}:"))
    if reserved:
        found.update(("tdm-reservation", "tdm-policy") if has_policy else ("tdm-reservation",))
    return sorted(found)


def _directives(value: str, agent: str) -> Iterable[str]:
    """Directives of a list such as `noindex, googlebot: noarchive, nosnippet`."""
    for part in value.lower().split(","):
        part = part.strip()
        before, colon, after = part.partition(":")
        if colon and before.strip() not in _VALUED and _AGENT.fullmatch(before.strip()):
            agent, part = f"{before.strip()}:", after.strip()
        for word in part.split() if ":" not in part else (part,):
            if word in _DIRECTIVES:
                yield agent + word
            elif word == "none":
                yield agent + "noindex"
            elif re.fullmatch(r"max-snippet:\s*0", word):
                yield agent + "nosnippet"


def _metas(html: str) -> Iterable[tuple[str, str]]:
    """Name and content of the meta tags that can hold a signal; none in comments, scripts and styles."""
    at = 0
    while found := _TAG.search(html, at):
        at = found.end()
        closing = _CLOSINGS.get(found[0].lower())
        if closing:
            at = _find(html, closing, at)
            if at < 0:
                return
            continue
        end = html.find(">", at, at + 4000)
        if end < 0:
            continue
        pairs = {m[1].lower(): m[2] or m[3] or m[4] or "" for m in _ATTRIBUTE.finditer(html, at, end)}
        name = (pairs.get("name") or pairs.get("http-equiv") or "").strip().lower()
        if name in _TDM or name == "x-robots-tag" or _BOT.fullmatch(name):
            yield name, entities.unescape(pairs.get("content", ""))
        at = end


def _find(html: str, closing: str, at: int) -> int:
    """Where a closing tag stands, in either case; -1 where there is none."""
    if closing == "-->":
        return html.find(closing, at)
    found = re.compile(closing, re.I).search(html, at)
    return found.end() if found else -1
