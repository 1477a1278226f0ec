"""Charset decisions against the labelled crawl and against Python's own codecs."""

import codecs
import unicodedata

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.charset import codec_name, declared_charset, decode, mended, nfc
from corpus.warc import read_warc

TEXTS = {
    "gbk": "<p>概率论是研究随机现象数量规律的数学分支。这是一个简单的例子，用来说明编码的检测。</p>",
    "big5": "<p>機率論是研究隨機現象數量規律的數學分支。這是一個簡單的例子，用來說明編碼的檢測。</p>",
    "shift_jis": "<p>確率論とは、偶然現象に対して数学的な模型を与え、解析する数学の一分野である。</p>",
    "euc-jp": "<p>確率論とは、偶然現象に対して数学的な模型を与え、解析する数学の一分野である。</p>",
    "euc-kr": "<p>확률론은 확률에 대해 연구하는 수학의 한 분야이다. 비결정론적 현상을 수학적으로 기술한다.</p>",
    "windows-1251": "<p>Теория вероятностей — раздел математики, изучающий случайные события.</p>",
    "windows-1252": "<p>Die Wahrscheinlichkeitstheorie ist ein Teilgebiet der Mathematik – „Stochastik“.</p>",
    "utf-16": "<p>Ünïcödé 数学</p>",
}


def test_the_crawl_is_decoded_as_labelled(shared_data):
    """Every page whose charset its makers changed or verified decodes to the same characters."""
    labels = duckdb.sql(
        f"""select warc_file, warc_offset, charset_true from '{shared_data}/web/labels.parquet'
        where status = 200 and charset_true not in ('', 'ascii', 'utf-8') or edit like '%charset%'"""
    ).fetchall()
    truth = {(name.split("/")[-1], offset): charset for name, offset, charset in labels}
    checked = set()
    for file in sorted((shared_data / "web").glob("*.warc.gz")):
        for record in read_warc(str(file)):
            label = truth.get((file.name, record.position))
            if record.reason or not label:
                continue
            codec = codec_name(label.split(" ")[0].rstrip("?"))
            expected = record.payload.decode(codec, "replace").lstrip("\ufeff")
            got = decode(record.payload, record.charset)
            assert got == "".join(
                c for c in expected if c in "\t\n\r\x0c" or not ("\0" <= c < " " or "\x7f" <= c < "\xa0")
            )
            checked.add(label)
    assert {"gbk", "big5", "shift_jis", "euc-jp", "euc-kr", "iso-8859-1"} <= checked


@pytest.mark.parametrize("charset", TEXTS)
def test_by_header_by_meta_and_by_detection(charset):
    text = TEXTS[charset]
    assert decode(text.encode(charset), charset) == text
    if charset != "utf-16":
        page = f'<meta http-equiv="Content-Type" content="text/html; charset={charset}">{text}'
        assert decode(page.encode(charset)) == page
        assert declared_charset(page.encode(charset)) == charset
    assert decode((text * 5).encode(charset)) == text * 5


def test_a_wrong_header_does_not_win_against_the_bytes():
    text = "<p>Größe, naïve, 数学</p>"
    for wrong in ("iso-8859-1", "gbk", "shift_jis", "windows-1252", "no-such-charset", "utf-7", ""):
        assert decode(text.encode(), wrong) == text
    korean = f'<meta charset="euc-kr">{TEXTS["euc-kr"]}'
    assert decode(korean.encode("euc-kr"), "utf-8") == korean


def test_whatwg_meanings():
    # A page that says Latin-1 means windows-1252; one that says GB2312 means its superset.
    assert decode(b"<p>\x93quoted\x94 \x96 dash</p>", "iso-8859-1") == "<p>“quoted” – dash</p>"
    assert decode("<p>镕基</p>".encode("gb18030") * 3, "gb2312").startswith("<p>镕基</p>")
    assert (
        codec_name("x-sjis") == "cp932" and codec_name("latin1") == "cp1252" and codec_name("utf-7") is None
    )


def test_marks_and_breaks():
    assert decode(codecs.BOM_UTF8 + "ä".encode(), "gbk") == "ä"
    assert decode(b"a\0b\x08c\x7f\n") == "abc\n"
    assert decode("数学 ".encode() * 20 + "数".encode()[:2]) == "数学 " * 20 + "\ufffd"
    assert decode(b"\x1b$B?t3X\x1b(B", "iso-2022-jp") == "数学"
    assert decode(b"") == ""


@given(st.binary(max_size=300), st.one_of(st.none(), st.text(max_size=12)))
def test_any_bytes_give_clean_text(payload, charset):
    text = decode(payload, charset)
    text.encode("utf-8")
    assert not any(c < " " and c not in "\t\n\r\x0c" for c in text)


@given(st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn", "Co")), max_size=200))
def test_utf8_is_never_mistaken(text):
    text = text.removeprefix("\ufeff")
    assert decode(text.encode(), "iso-8859-1") in (text, mended(text))


SENTENCES = {
    "Українська мова: її літери є, ї, ґ; це речення написане для перевірки.": ("koi8-u", "windows-1251"),
    "Η πιθανότητα είναι μέτρο της βεβαιότητας ενός γεγονότος στα μαθηματικά.": ("windows-1253", "iso-8859-7"),
    "Teorija verjetnosti preučuje naključne pojave; šopek žog, čisto naključje.": ("windows-1250",),
    "Tikimybių teorija tiria atsitiktinius įvykius, jų dydžius, šaltinius ir ryšį.": ("windows-1257",),
    "Olasılık kuramı, rastgele olayların çözümlenmesiyle uğraşan bir dalıdır; şans işi.": ("windows-1254",),
    "ทฤษฎีความน่าจะเป็นเป็นสาขาหนึ่งของคณิตศาสตร์ที่ศึกษาเหตุการณ์สุ่ม": ("cp874",),
    "תורת ההסתברות היא ענף של המתמטיקה העוסק בתופעות אקראיות ובניתוחן.": ("windows-1255",),
    "نظرية الاحتمالات فرع من الرياضيات يهتم بتحليل الظواهر العشوائية.": ("windows-1256",),
    "確率論とは、偶然現象に対して数学的な模型を与え、解析する数学の一分野である。": ("iso-2022-jp", "euc-jp"),
}


@pytest.mark.parametrize("text", SENTENCES)
def test_more_charsets_than_are_declared(text):
    """Found by the bytes alone, and against a server that calls everything Latin-1 or UTF-8."""
    page = f"<html><head><title>Page</title></head><body>{f'<p>{text}</p>' * 8}</body></html>"
    for charset in SENTENCES[text]:
        for header in (None, "utf-8", "iso-8859-1"):
            assert decode(page.encode(charset), header) == page, (charset, header)


def test_latin1_is_the_weaker_of_two_claims():
    french, czech = "<p>Été à la plage, où l'élève naïf a bu.</p>", "<p>Příliš žluťoučký kůň úpěl.</p>"
    meta = '<meta http-equiv="Content-Type" content="text/html; charset={}">'
    page = meta.format("windows-1250") + czech
    assert decode(page.encode("cp1250"), "iso-8859-1") == page
    assert decode((french * 3).encode("cp1252"), "iso-8859-1") == french * 3
    page = meta.format("gb2312") + french * 5  # a copied template; the server is right
    assert decode(page.encode("cp1252"), "iso-8859-1") == page


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("header", [None, "utf-16", "utf-8"])
def test_utf16_without_a_mark(codec, header):
    page = "<html><head><title>t</title></head><body><p>Теория 数学 ünd</p></body></html>"
    assert decode(page.encode(codec), header) == page


def garbled(text: str) -> str:
    """What becomes of UTF-8 that is read as windows-1252, as browsers do it (WHATWG: five bytes stay controls)."""
    return "".join(
        bytes((byte,)).decode("cp1252") if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else chr(byte)
        for byte in text.encode()
    )


@pytest.mark.parametrize(
    "text", ["Ça été déjà naïf – “où”?", "Größe, Übung", "Это текст", "数学の本", "naïve 😀", *SENTENCES]
)
def test_text_encoded_twice_is_set_right(text):
    page = f"<p>{text}</p>\n<p>{text}</p>"
    assert decode(garbled(page).encode()) == page
    # Beside text that is right, run by run; not where most of the page is right.
    mixed = f"<p>Ça va été</p><p>{garbled(text)}</p><p>{garbled(text)}</p>"
    assert decode(mixed.encode()) == mixed.replace(garbled(text), text)
    mixed = f"<p>é</p><p>à</p><td>{garbled(text)}</td>"
    assert mended(mixed) == mixed


@pytest.mark.parametrize(
    "text",
    [
        "IRMÃ",
        "IRMÃ”",
        "a “IRMÃ” e o “JOÃO”",
        "São",
        "MAÇÃ…",
        "Â",
        "LÃ »",
        "â",
        "é appears as Ã© there",
        "Ã",
        "PÃES",
        "½ Ã—",
    ],
)
def test_right_text_stays(text):
    for page in (text, f"<p>{text}</p>" * 5):
        assert decode(page.encode()) == page


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Co")), max_size=60))
def test_mending_undoes_garbling_or_does_nothing(text):
    assert mended(garbled(text)) in (text, garbled(text))


@given(
    st.lists(
        st.one_of(
            st.text(max_size=5),
            st.text("\u0301\u0323\u0344\u0f73\u0327\u05b0\u3099\U0001d165", min_size=25, max_size=90),
            st.text("ae\u1100\u1161\u11a8\uac00", max_size=4),
        ),
        max_size=5,
    ).map("".join)
)
def test_normal_form_c_is_pythons(text):
    assert nfc(text) == unicodedata.normalize("NFC", text)


def test_a_megabyte_of_marks_takes_no_minutes():
    text = "a" + "\u0301\u0323" * 250_000  # python's own way would be quadratic: minutes
    normal = nfc(text)
    assert normal[:2] == "\u1ea1\u0323" and len(normal) == len(text) - 1
