"""Bytes to text: which charset a page is really in.

Declarations on the web are wrong often enough that each is taken as a claim to be checked against the bytes:
a byte order mark, UTF-16 by its zeros, UTF-8 that could hardly be an accident, then the HTTP header, the page's own
meta tag, and a statistical detector. Latin-1 is what servers say when they know nothing, so its claim is the weakest.
Names mean what the WHATWG Encoding Standard makes of them.
"""

import codecs
import functools
import re
import sys
import unicodedata
from collections.abc import Iterator

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

_META = re.compile(rb"<meta[^>]{0,300}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{2,40})", re.I)
_XML = re.compile(rb"\A\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9_.:-]{2,40})", re.I)
# Python's codecs of these names are narrower than what browsers (and so authors) understand by them.
_WIDER = {
    "gbk": "gb18030", "gb2312": "gb18030", "big5": "big5hkscs", "shift_jis": "cp932", "euc_kr": "cp949",
    "iso8859-11": "cp874", "iso-8859-11": "cp874", "iso2022_jp": "iso2022_jp_ext", "iso-2022-jp": "iso2022_jp_ext",
}  # fmt: skip
# What the detector finds, and the charset of the web that text like it is in: DOS code pages are none, the standard
# for Romanian never left paper, and KOI8-U is KOI8-R with the letters of Ukrainian.
_OF_THE_WEB = {
    "koi8-r": "koi8-u", "iso8859-16": "cp1250", "tis-620": "cp874",
    "cp865": "cp1252", "cp850": "cp1252", "cp437": "cp1252", "iso8859-3": "cp1252", "iso8859-10": "cp1252",
    "cp852": "cp1250", "cp855": "cp1251", "cp737": "cp1253",
}  # fmt: skip
_LATIN = frozenset(
    (
        "cp1252",
        "cp1250",
        "cp1254",
        "cp1257",
        "iso8859-13",
        "iso8859-2",
        "iso8859-15",
        "iso8859-4",
        "mac-roman",
    )
)
# Against a claim of Latin-1: so many bytes outside ASCII let the detector tell another Latin charset, and so large a
# share of them side by side shows a script that is not Latin at all.
_ENOUGH_LETTERS, _FOREIGN_SHARE = 40, 0.5
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# C0 controls, DEL, C1 controls and the lone surrogates no codec should let through.
_UNWANTED = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_CONTROLS = bytes((*range(9), 0x0B, *range(0x0E, 0x20), 0x7F))
_C1_IN_UTF8, _NONCHARACTERS_IN_UTF8 = re.compile(rb"\xc2[\x80-\x9f]"), re.compile(rb"\xef\xbf[\xbe\xbf]")
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")
_AS_BYTES = {
    ord(bytes((byte,)).decode("cp1252")): byte
    for byte in range(0x80, 0xA0)
    if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}
_TRAIL = "\x80-\xbf" + "".join(map(chr, _AS_BYTES))
# Quotation marks, dashes and blanks can stand behind a capital letter in right text; the others cannot.
_SURE_TRAIL = "".join(
    char
    for char in [*map(chr, range(0x80, 0xC0)), *map(chr, _AS_BYTES)]
    if char not in "‘’‚“”„‹›«»–—…•·\xa0™ªº°²³¹"
)
_TELL_TALE = re.compile(
    f"[\xc2-\xdf][{re.escape(_SURE_TRAIL)}]|[\xe0-\xef][{_TRAIL}]{{2}}|[\xf0-\xf4][{_TRAIL}]{{3}}"
)
_ENCODED_TWICE = re.compile(rb"\xc3[\x82-\xb4][\xc2\xc5\xc6\xcb\xe2]")
_RUN = re.compile(r"[^<>\n]+")
_LATIN_LETTER = re.compile("[\xc0-\xff]")


def decode(payload: bytes, http_charset: str | None = None) -> str:
    """`payload` as text without BOM, NUL or other control characters; never raises, whatever the bytes.

    A byte that the chosen charset does not know becomes U+FFFD. UTF-8 that was taken for windows-1252 and encoded once
    more is set right where that is certain (see `mended`).
    """
    for bom, name in _BOMS:
        if payload.startswith(bom):
            return _clean(mended(payload[len(bom) :].decode(name, "replace")))
    if wide := _wide(payload):
        return _clean(payload.decode(wide, "replace"))
    if b"\x1b$" in payload and payload.isascii():
        text = payload.decode("iso2022_jp_ext", "replace")
        if _damage(text) == 0:
            return _clean(text)
    text = _as_utf8(payload)
    if text is not None:
        if _ENCODED_TWICE.search(payload):
            text = mended(text)
        return text if _is_clean(payload) else _clean(text)
    best: tuple[float, str] | None = None
    for name in _claims(payload, http_charset):
        candidate = payload.decode(name, "replace")
        damage = _damage(candidate)
        if damage == 0:
            return _clean(candidate)
        if best is None or damage < best[0]:
            best = (damage, candidate)
    return _clean(best[1] if best else payload.decode("utf-8", "replace"))


def declared_charset(payload: bytes) -> str | None:
    """The charset a page names in its XML declaration or meta tag, as written there."""
    found = _XML.search(payload[:1024]) or _META.search(payload[:4096])
    return found[1].decode("ascii") if found else None


def codec_name(label: str | None) -> str | None:
    """The Python codec a browser would use for a charset label, or None where it knows none."""
    name = map_encoding_to_html5(label.strip().lower(), fallback_utf8=False) if label else None
    if name is None:
        return None
    name = _WIDER.get(name.lower(), name.lower())
    try:
        codecs.lookup(name)
    except LookupError:
        return None
    return name


def mended(text: str) -> str:
    """`text` with the parts of it that were UTF-8, taken for windows-1252 and encoded again, as they were ("Ã©": "é").

    Only what is certain: a run of text between two tags or line ends is set right where all that is not ASCII in it
    is valid UTF-8 when the mistake is undone, and only on a page where more runs are of that kind than speak against
    it. Right text such as "IRMÃ" or "São" is no valid UTF-8; "IRMÃ”" is, and stays for want of better evidence.
    """
    if text.isascii() or not _TELL_TALE.search(text):
        return text
    found: list[tuple[int, int, str]] = []
    for run in _RUN.finditer(text):
        if not run[0].isascii():
            found.append((*run.span(), _undone(run[0]) or ""))
    mends = [(start, end, right) for start, end, right in found if right]
    certain = sum(1 for start, end, _ in mends if _TELL_TALE.search(text, start, end))
    against = sum(1 for start, end, right in found if not right and _LATIN_LETTER.search(text, start, end))
    if not certain or certain <= against:
        return text
    out, at = [], 0
    for start, end, right in mends:
        out += (text[at:start], right)
        at = end
    return "".join((*out, text[at:]))


def _undone(run: str) -> str | None:
    try:
        return run.translate(_AS_BYTES).encode("latin-1").decode("utf-8")
    except UnicodeError:
        return None


def _claims(payload: bytes, http_charset: str | None) -> Iterator[str]:
    """Charsets to try, the likeliest first."""
    declared = codec_name(declared_charset(payload))
    stated = [name for name in dict.fromkeys((codec_name(http_charset), declared)) if name]
    # What is UTF-8 was found out before, and a page whose ASCII meta tag was readable is not UTF-16.
    stated = [name for name in stated if not name.startswith("utf-")]
    if len(stated) == 1 and stated[0] != "cp1252":
        yield stated[0]
    detected = _detected(payload)
    if len(stated) == 2:
        yield from sorted(
            stated, key=lambda name: (_OF_THE_WEB.get(name, name) != detected, name == "cp1252")
        )
    elif stated == ["cp1252"]:
        if detected and _is_foreign(payload, detected):
            yield detected
        yield "cp1252"
    if detected:
        yield detected
    yield "utf-8"
    yield "cp1252"


def _is_foreign(payload: bytes, detected: str) -> bool:
    """Whether the bytes speak for `detected` and against Latin-1, the claim of those who do not know."""
    if detected in ("cp1252", "iso8859-15", "mac-roman", "utf-8"):
        return False
    lengths = [len(run) for run in _HIGH_RUN.findall(payload)]
    letters = sum(lengths)
    if detected in _LATIN:
        return letters >= _ENOUGH_LETTERS
    return sum(length for length in lengths if length > 1) > _FOREIGN_SHARE * letters


def _wide(payload: bytes) -> str | None:
    """UTF-16 without a byte order mark: markup is ASCII, so every second byte of much of it is zero."""
    head = payload[:4096]
    zeros = head.count(0)
    if zeros <= len(head) // 50:
        return None
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if min(even, odd) >= max(1, zeros // 20) or (b"<\0" if odd > even else b"\0<") not in head:
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _detected(payload: bytes) -> str | None:
    # Asked for WHATWG names, the detector calls Korean UTF-8, since its own name for it is not among them.
    name = (detect_encoding(payload, html5_compatible=False) or "").lower()
    if name in ("iso8859-13", "cp1257", "cp775"):  # they differ in quotation marks only
        return "cp1257" if re.search(rb"[\x80-\x9f]", payload) else "iso8859-13"
    return "cp949" if name in ("cp949", "uhc") else _OF_THE_WEB.get(name) or codec_name(name)


def _as_utf8(payload: bytes) -> str | None:
    """The text if the bytes are UTF-8 beyond doubt: hardly any legacy text is valid by accident.

    A sequence cut off at the end, or a few broken bytes among many good characters, do not speak against it.
    """
    try:
        return payload.decode("utf-8")
    except UnicodeDecodeError:
        text = payload.decode("utf-8", "replace")
        broken = text.count("\ufffd")
        good = sum(len(run) for run in re.findall("[\u0080-\ufffc\U00010000-\U0010ffff]+", text))
        return text if broken * 20 <= good or (broken == 1 and text.endswith("\ufffd") and good) else None


def _damage(text: str) -> float:
    """Share of characters that show a wrong guess: U+FFFD, and the C1 controls that real text never holds."""
    return len(re.findall("[\ufffd\x80-\x84\x86-\x9f\ue000-\uf8ff]", text)) / (len(text) or 1)


def _is_clean(payload: bytes) -> bool:
    """Whether UTF-8 holds nothing that is unwanted: the same question as `_clean` answers, at ten times the speed."""
    return (
        len(payload.translate(None, _CONTROLS)) == len(payload)
        and not _C1_IN_UTF8.search(payload)
        and not _NONCHARACTERS_IN_UTF8.search(payload)
    )


def _clean(text: str) -> str:
    return _UNWANTED.sub("", text)


_RUN_OF_MARKS = 31


def nfc(text: str) -> str:
    """`text` in Unicode's normal form C, in linear time.

    `unicodedata.normalize` sorts the marks after a letter by insertion, which takes minutes for a megabyte of them.
    Runs longer than any writing system needs (30, UAX #15 section 13) are put in order first.
    """
    if text.isascii() or unicodedata.is_normalized("NFC", text):  # a first out of order ends the look: linear
        return text
    mark, run = _combining()
    # A run of 31 has a mark at a multiple of 31.
    hits = (hit.start() * _RUN_OF_MARKS for hit in mark.finditer(text[::_RUN_OF_MARKS]))
    if any(run.search(text, max(0, at - _RUN_OF_MARKS + 1), at + _RUN_OF_MARKS) for at in hits):
        text = run.sub(_in_canonical_order, text)
    return unicodedata.normalize("NFC", text)


@functools.cache
def _combining() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What decomposes into something that starts with a mark: one such character, and a run of them."""
    decomposed = (
        (c, unicodedata.normalize("NFD", chr(c))) for c in range(128, sys.maxunicode + 1) if c >> 11 != 27
    )
    marks = "".join(chr(c) for c, parts in decomposed if unicodedata.combining(parts[0]))
    return re.compile(f"[{marks}]"), re.compile(f"[{marks}]{{{_RUN_OF_MARKS},}}")


def _in_canonical_order(match: re.Match[str]) -> str:
    decomposed = "".join(unicodedata.normalize("NFD", char) for char in match[0])
    return "".join(sorted(decomposed, key=unicodedata.combining))
