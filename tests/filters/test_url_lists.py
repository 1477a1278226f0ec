import gzip
import json

import pytest

from corpus.errors import LodeError
from filters.url_lists import Lists

TEXT = "A page that says nothing to anybody, in plain words."


@pytest.fixture
def lists(tmp_path):
    def make(**files: str) -> Lists:
        paths = {}
        for kind, content in files.items():
            path = tmp_path / f"{kind}.txt"
            path.write_text(content, encoding="utf-8")
            paths[kind] = (str(path),)
        return Lists(**paths)

    return make


@pytest.mark.parametrize(
    "url, entry",
    [
        ("http://bad.example/", "bad.example"),
        ("https://WWW.Bad.Example:8080/x?y#z", "bad.example"),
        ("http://a.b.bad.example/x", "bad.example"),
        ("http://shop.mixed.example/x", "shop.mixed.example"),
        ("http://mixed.example/x", None),
        ("http://notbad.example/", None),
        ("http://example/", None),
        ("http://bad.example.org/", None),
        ("http://bücher.example/", "xn--bcher-kva.example"),
        ("http://10.1.2.3/x", "10.1.2.3"),
        ("http://110.1.2.3/x", None),
        ("no url at all", None),
        ("http://[broken", None),
        ("", None),
        (None, None),
    ],
)
def test_domains_block_what_is_below_them(lists, url, entry):
    some = lists(domains="# adult\nbad.example\n.shop.mixed.example\nBücher.example\n10.1.2.3\n\n")
    verdict = some.verdict(url, TEXT, "en")
    assert verdict == (("blocked_domain", entry) if entry else None)


@pytest.mark.parametrize(
    "url, entry",
    [
        ("http://host.example/bad", "host.example/bad"),
        ("https://www.host.example/bad/page.html?x=1", "host.example/bad"),
        ("http://host.example/badly", None),
        ("http://host.example/", None),
        ("http://other.example/~me/p.php?id=7", "other.example/~me/p.php?id=7"),
        ("http://other.example/~me/p.php?id=8", None),
    ],
)
def test_urls_block_what_is_below_them(lists, url, entry):
    some = lists(urls="host.example/bad\nhttp://other.example/~me/p.php?id=7\n")
    assert some.verdict(url, TEXT, "en") == (("blocked_url", entry) if entry else None)


@pytest.mark.parametrize(
    "text, entry",
    [
        ("Some Nasty, words", "nasty"),
        ("nastyness is another word", None),
        ("(two rude words)", "two rude words"),
        ("two rude wordsmiths", None),
        ("x-ish things", "x-ish"),
        ("look: ☠ !", "☠"),
        ("", None),
    ],
)
def test_words_count_between_what_is_no_word(lists, text, entry):
    some = lists(words="nasty\ntwo rude words\nx-ish\n☠\n")
    assert some.verdict(None, text, "en") == (("blocked_word", entry) if entry else None)


def test_a_file_named_by_a_language_is_for_that_language(tmp_path):
    (tmp_path / "en.json").write_text(json.dumps(["nasty"]))
    (tmp_path / "ja.txt").write_text("禁句\n", encoding="utf-8")
    words = Lists(words=(str(tmp_path),))
    assert words.verdict(None, "nasty", "en") == ("blocked_word", "nasty")
    assert words.verdict(None, "nasty", "de") is None
    assert words.verdict(None, "これは禁句です", "ja") == ("blocked_word", "禁句")
    assert words.verdict(None, "これは禁句です", "zh") is None


def test_folders_are_read_as_toulouse_lays_them_out(tmp_path):
    for category, domain in (("adult", "one.example"), ("phishing", "two.example")):
        (tmp_path / category).mkdir()
        (tmp_path / category / "domains").write_text(f"{domain}\n")
        (tmp_path / category / "urls").write_text(f"{category}.example/page\n")
    folder = (str(tmp_path),)
    some = Lists(domains=folder, urls=folder)
    assert [len(kind) for kind in (some.resolved().domains, some.resolved().urls)] == [2, 2]
    for chosen in (some, some.resolved()):
        assert chosen.verdict("http://x.two.example/", TEXT, "en") == ("blocked_domain", "two.example")
        assert chosen.verdict("http://adult.example/page", TEXT, "en") == (
            "blocked_url",
            "adult.example/page",
        )
        assert chosen.verdict("http://adult.example/", TEXT, "en") is None


def test_lists_may_be_compressed_and_hold_any_bytes(tmp_path):
    path = tmp_path / "domains.gz"
    path.write_bytes(gzip.compress(b"\xff\xfe\nbad.example\r\n" + b"x" * 100_000))
    assert Lists(domains=(str(path),)).verdict("http://bad.example", TEXT, "en")


def test_a_list_that_is_not_there_or_no_list_is_one_sentence(tmp_path):
    with pytest.raises(LodeError, match=r"nowhere\.txt: there is no such file"):
        Lists(domains=(str(tmp_path / "nowhere.txt"),)).resolved()
    broken = tmp_path / "en.json"
    broken.write_text('{"a": 1}')
    with pytest.raises(LodeError, match=r"en\.json: a list of words in JSON was expected"):
        Lists(words=(str(broken),)).verdict(None, TEXT, "en")


def test_hostile_urls_and_texts_cost_no_more_than_their_length(lists):
    some = lists(domains="bad.example\n", urls="bad.example/x\n", words="a b c d\n-\n" + "a a a a b\n")
    for unit in ("a.", "a/", "a ", "%41", "-a", "?"):
        some.verdict("http://" + unit * 200_000, unit * 200_000, "en")
    assert some.verdict("http://" + "a." * 200_000 + "bad.example/", TEXT, "en")
