"""What a page states about itself: its title and the day it was published."""

import datetime
import html as entities
import re

from lxml import etree

_TITLE = re.compile(r"<title\b[^>]{0,200}>([^<]{0,2000})", re.I)
_DAY = re.compile(r"((?:19|20)\d\d)[-/.]?(\d\d)[-/.]?(\d\d)(?!\d)")
_IN_JSON = re.compile(r'"datePublished"\s{0,5}:\s{0,5}"([^"]{8,40})"')
# In the order in which they are believed.
_PROPERTIES = {
    name: rank
    for rank, name in enumerate((
        "article:published_time", "datepublished", "og:published_time", "citation_publication_date",
        "citation_date", "dc.date.issued", "dcterms.issued", "dc.date.created", "dcterms.created",
        "dc.date", "dcterms.date", "date", "pubdate", "publishdate", "publish-date", "publication_date",
        "parsely-pub-date", "sailthru.date", "article.published", "cxenseparse:recs:publishtime",
    ))
}  # fmt: skip


def stated_title(html: str) -> str | None:
    """The text of a page's first title element."""
    found = _TITLE.search(html)
    return " ".join(entities.unescape(found[1]).split()) or None if found else None


def stated_date(root: etree._Element, html: str) -> str | None:
    """The day a page says it was published, `YYYY-MM-DD`: by its metadata, JSON-LD or `time` elements."""
    best: tuple[int, str] | None = None
    for meta in root.iter("meta"):
        name = meta.get("property") or meta.get("name") or meta.get("itemprop")
        rank = _PROPERTIES.get(name.lower()) if name else None
        if rank is not None and (best is None or rank < best[0]):
            day = _day(meta.get("content"))
            best = (rank, day) if day else best
    if best:
        return best[1]
    found = _IN_JSON.search(html) if "datePublished" in html else None
    if found and (day := _day(found[1])):
        return day
    for time in root.iter("time"):
        is_ours = time.get("pubdate") is not None or (time.get("itemprop") or "").lower() == "datepublished"
        if is_ours and (day := _day(time.get("datetime"))):
            return day
    return None


def _day(stated: str | None) -> str | None:
    found = _DAY.match((stated or "").strip()[:40])
    if not found:
        return None
    try:
        return datetime.date(int(found[1]), int(found[2]), int(found[3])).isoformat()
    except ValueError:
        return None
