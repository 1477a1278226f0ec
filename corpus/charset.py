"""Bytes to text: which charset a page is really in.

Declarations on the web are wrong often enough that each is taken as a claim to be checked against the bytes:
a byte order mark, then UTF-8 that could hardly be an accident, then the HTTP header, the page's own meta tag,
and a statistical detector. Names mean what the WHATWG Encoding Standard makes of them.
"""

import codecs
import re

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

_META = re.compile(rb"<meta[^>]{0,300}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{2,40})", re.I)
_XML = re.compile(rb"\A\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9_.:-]{2,40})", re.I)
# Python's codecs of these names are narrower than what browsers (and so authors) understand by them.
_WIDER = {"gbk": "gb18030", "gb2312": "gb18030", "big5": "big5hkscs", "shift_jis": "cp932", "euc_kr": "cp949"}
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# C0 controls, DEL, C1 controls and the lone surrogates no codec should let through.
_UNWANTED = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def decode(payload: bytes, http_charset: str | None = None) -> str:
    """`payload` as text without BOM, NUL or other control characters; never raises, whatever the bytes.

    A byte that the chosen charset does not know becomes U+FFFD.
    """
    for bom, name in _BOMS:
        if payload.startswith(bom):
            return _clean(payload[len(bom) :].decode(name, "replace"))
    text = _as_utf8(payload)
    if text is not None and not (payload.isascii() and b"\x1b$" in payload):
        return _clean(text)
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


def _claims(payload: bytes, http_charset: str | None) -> list[str]:
    declared = codec_name(declared_charset(payload))
    if declared and declared.startswith("utf-16"):  # a page whose ASCII meta tag was readable is not UTF-16
        declared = "utf-8"
    claims = [codec_name(http_charset), declared, _detected(payload), "utf-8", "cp1252"]
    return list(dict.fromkeys(name for name in claims if name))


def _detected(payload: bytes) -> str | None:
    # Asked for WHATWG names, the detector calls Korean UTF-8, since its own name for it is not among them.
    name = detect_encoding(payload, html5_compatible=False)
    return codec_name(name) or ("cp949" if name in ("cp949", "uhc") else None)


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


def _clean(text: str) -> str:
    return _UNWANTED.sub("", text)
