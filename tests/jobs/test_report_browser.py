"""The report in a real browser: hostile content does nothing, and everybody can read and operate the page."""

import itertools
import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.report import write_report
from tests.tiny_work import TinyWork

HOSTILE = (
    '</style></script><script>window.owned = 1; alert(1)</script><img src=x onerror="owned = 2">'
    "<svg onload=alert(3)><a href='javascript:owned=4'>x</a></svg><iframe src='data:text/html,<script>parent.owned=5'>"
    "</iframe><link rel=stylesheet href=https://elsewhere.example/x.css><base href=//elsewhere.example/>"
    "<meta http-equiv=refresh content='0;url=https://elsewhere.example/'>{{ 7 * 7 }}{% raw %}${owned}"
    "\u202e\u2066gpj.exe\x00\x07\u2028\ufeff\"' onmouseover='owned=6' "
    "style='position:fixed;background:url(//e.example)' --> ]]>"
)
# What the stages decide by; a file in which these are others is no work folder.
FIXED = {"reason", "kind", "order", "sample", "fate", "stage", "decision"}


def spoiled(value, only=None):
    """A value with what is hostile behind each of its texts; the same text is always spoiled alike."""
    if isinstance(value, dict):
        return {
            (key if only is None or key not in only else key + HOSTILE): inner
            if key in FIXED
            else spoiled(inner, only)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [spoiled(inner, only) for inner in value]
    return value + HOSTILE if isinstance(value, str) and (only is None or value in only) else value


def texts_of(value):
    if isinstance(value, dict):
        return {text for key, inner in value.items() if key not in FIXED for text in texts_of(inner)}
    if isinstance(value, list):
        return {text for inner in value for text in texts_of(inner)}
    return {value} if isinstance(value, str) else set()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> pathlib.Path:
    """The report of a work folder in which every text is hostile, and one is 10 MB."""
    folder = TinyWork(tmp_path_factory.mktemp("hostile") / "work").build()
    seen = set()
    for path in sorted(folder.rglob("*.parquet")):
        table = pq.read_table(path, partitioning=None)
        rows = table.to_pylist()
        seen |= texts_of(rows)
        rows = spoiled(rows)
        if "title" in table.column_names and rows:
            rows[0]["title"] = HOSTILE * (10_000_000 // len(HOSTILE))
            rows[0]["url"] = "https://a.example/" + HOSTILE * 1_000
        pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
    for path in folder.rglob("_lode.json"):
        manifest = spoiled(json.loads(path.read_text()), seen - {manifest_of(path, folder)})
        manifest |= {"engine": HOSTILE, "code": HOSTILE, "lode": HOSTILE}
        manifest["parameters"] = manifest["parameters"] | {HOSTILE: HOSTILE}
        manifest["dropped"] = manifest["dropped"] | {HOSTILE: 0}
        path.write_text(json.dumps(manifest))
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    (folder / "run" / "metrics.jsonl").write_text("".join(json.dumps(spoiled(row)) + "\n" for row in lines))
    (folder / "recipe.json").write_text(json.dumps({"name": HOSTILE}))
    return pathlib.Path(write_report(str(folder)))


def manifest_of(path: pathlib.Path, folder: pathlib.Path) -> str:
    return str(path.parent.relative_to(folder))


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> pathlib.Path:
    return pathlib.Path(write_report(str(TinyWork(tmp_path_factory.mktemp("plain") / "work").build())))


@pytest.fixture(params=["plain", "hostile"])
def report(request) -> str:
    return request.getfixturevalue(request.param).as_uri()


def test_the_watch_sees_what_it_is_there_for(open_page, tmp_path):
    (tmp_path / "bad.html").write_text(
        "<!doctype html><title>t</title><img src=https://elsewhere.example/x.png><img src=beside.png>"
        "<script>alert(1); console.error('said'); open('about:blank'); throw 3</script>"
    )
    page = open_page((tmp_path / "bad.html").as_uri())
    page.wait_for_timeout(100)
    said = " ".join(page.watch.errors)
    for expected in ("a dialog: 1", "error: said", "exception: 3"):
        assert expected in said, page.watch.errors
    assert {url.rpartition("/")[2] for url in page.watch.strangers()} >= {"x.png", "beside.png"}
    page.watch.errors.clear()
    page.watch.requests.clear()


def test_hostile_content_does_nothing(open_page, hostile, tmp_path):
    assert hostile.stat().st_size < 2_000_000
    (tmp_path / "blank.html").write_text("<!doctype html><title>blank</title>")
    blank = open_page((tmp_path / "blank.html").as_uri()).evaluate(
        "Object.getOwnPropertyNames(window).sort()"
    )
    page = open_page(hostile.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.mouse.move(300, 300)
    page.wait_for_timeout(200)
    assert page.evaluate("Object.getOwnPropertyNames(window).sort()") == blank
    assert page.url == hostile.as_uri() and page.watch.requests == [hostile.as_uri()]
    count = "tags => document.querySelectorAll(tags).length"
    assert page.evaluate(count, "script, img, iframe, link, base, object, embed, form, input") == 0
    assert page.evaluate(count, "main, header.top, nav, footer") == 4
    assert page.evaluate("[...document.links].every(a => a.getAttribute('href').startsWith('#'))")
    on = "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames()).filter(n => n.startsWith('on'))"
    assert page.evaluate(on) == []
    shown = page.evaluate("document.body.innerText")
    assert "<script>window.owned" in shown and "{{ 7 * 7 }}" in shown and "⟨U+202E⟩" in shown
    assert "can not be shown" not in shown
    assert not set(shown) & set("\u202e\u2066\x00\x07\u2028")


CONTRAST = """() => {
    const parse = c => { const m = c.match(/[\\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
    const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
    const over = (a, b) => [0, 1, 2].map(k => a[k] * a[3] + b[k] * (1 - a[3])).concat(1);
    const ground = e => {
        const layers = [];
        for (; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
        return layers.reverse().reduce((below, above) => over(above, below), [255, 255, 255, 1]);
    };
    const bad = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const e = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !e.checkVisibility() || e.closest('.skip')) continue;
        if (e.closest('svg')) {
            if (e.tagName !== 'text') continue;
            if (e.getAttribute('fill') === 'var(--card)') continue;  // in a bar: that is the next test's
        }
        const style = getComputedStyle(e), behind = ground(e);
        const front = over(parse(e.closest('svg') ? style.fill : style.color), behind);
        const [low, high] = [light(front), light(behind)].sort((a, b) => a - b);
        const ratio = (high + 0.05) / (low + 0.05);
        const dimmed = parseFloat(style.opacity);
        if (ratio < 4.5 || dimmed < 0.8)
            bad.push([e.tagName, e.outerHTML.slice(0, 100), ratio, dimmed]);
    }
    return bad.slice(0, 10);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_read_in_light_and_in_the_dark(open_page, plain, scheme):
    page = open_page(plain.as_uri(), color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    dark = (
        sum(map(int, page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g)")))
        < 3 * 128
    )
    assert dark == (scheme == "dark")
    assert page.evaluate(CONTRAST) == []


def test_colours_of_series_stand_out(open_page, plain):
    for scheme in ("light", "dark"):
        page = open_page(plain.as_uri(), color_scheme=scheme)
        page.evaluate(
            """() => {
                document.body.replaceChildren(...[1, 2, 3, 4, 5, 6].map(k => {
                    const p = document.createElement('p'); p.textContent = 's' + k; p.style.color = `var(--s${k})`;
                    p.style.background = 'var(--card)'; return p; }));
            }"""
        )
        assert page.evaluate(CONTRAST) == []


@pytest.mark.parametrize("width", [360, 768, 1400])
def test_no_page_scrolls_sideways(open_page, report, width):
    page = open_page(report, viewport={"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    wide = page.evaluate(
        """() => [document.documentElement.scrollWidth, [...document.querySelectorAll('.column *')].filter(e => {
            for (let up = e.parentElement; up; up = up.parentElement)
                if (getComputedStyle(up).overflowX !== 'visible') return false;
            const box = e.getBoundingClientRect();
            return box.width && box.right > innerWidth + 1;
        }).slice(0, 5).map(e => e.outerHTML.slice(0, 120))]"""
    )
    assert wide == [width, []]


def test_paper_shows_everything(open_page, report):
    page = open_page(report, viewport={"width": 700, "height": 990})
    page.emulate_media(media="print")
    cut_off = page.evaluate(
        """() => [...document.querySelectorAll('main *')].filter(e => {
            const style = getComputedStyle(e);
            if (!e.checkVisibility() || e.closest('svg, caption')) return false;
            if (style.textOverflow === 'ellipsis') return false;  // says so by itself
            const clipped = style.overflowX !== 'visible' || style.overflowY !== 'visible';
            return clipped && (e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1);
        }).slice(0, 5).map(e => e.outerHTML.slice(0, 120))"""
    )
    assert cut_off == []
    folded = page.evaluate(
        """() => [...document.querySelectorAll('main details:not(.numbers)')]
            .filter(d => [...d.children].some(e => e.tagName !== 'SUMMARY' && !e.getBoundingClientRect().height))
            .map(d => d.innerText.slice(0, 60))"""
    )
    assert folded == []
    assert not page.locator("nav").first.is_visible()
    paper = page.pdf(format="A4")
    assert paper.startswith(b"%PDF") and paper.count(b"/Type /Page\n") + paper.count(b"/Type /Page ") < 60


def test_the_keyboard_reaches_everything_in_order(open_page, plain):
    page = open_page(plain.as_uri(), viewport={"width": 1400, "height": 900})
    expected = page.evaluate(
        """() => [...document.querySelectorAll('a[href], summary, [tabindex="0"]')]
            .filter(e => e.checkVisibility()).map((e, k) => (e.dataset.place = k, k))"""
    )
    reached, unseen = [], []
    for _ in range(3 * len(expected)):
        page.keyboard.press("Tab")
        place, seen = page.evaluate(
            """() => { const e = document.activeElement, style = getComputedStyle(e);
                return [e.dataset.place ?? null, style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1
                        || e.classList.contains('skip')]; }"""
        )
        if place is not None:
            reached.append(int(place))
            if not seen:
                unseen.append(place)
        if reached and reached[-1] == expected[-1]:
            break
    assert reached == expected and unseen == []
    summary = page.locator("main summary").first
    was = page.evaluate("document.querySelector('main summary').parentElement.open")
    summary.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector('main summary').parentElement.open") != was
    page.locator("a.skip").focus()
    page.keyboard.press("Enter")
    assert page.url.endswith("#start")


def test_a_screen_reader_finds_its_way(open_page, report):
    page = open_page(report)
    assert page.evaluate("document.documentElement.lang") == "en" and page.title()
    for landmark in ("main", "navigation", "contentinfo"):
        assert page.get_by_role(landmark).count() == 1, landmark
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map(h => +h.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert page.evaluate("[...document.querySelectorAll('section')].every(s => s.querySelector('h2').id === "
                         "s.getAttribute('aria-labelledby'))")  # fmt: skip
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('svg')].filter(e => !e.closest('[aria-hidden=true]') &&
            !(e.getAttribute('role') === 'img' && e.getAttribute('aria-label'))).map(e => e.outerHTML.slice(0, 100))"""
    )
    assert nameless == []
    assert page.evaluate("[...document.querySelectorAll('th')].filter(h => !h.scope).length") == 0
    assert (
        page.evaluate("[...document.querySelectorAll('table')].filter(t => !t.querySelector('th')).length")
        == 0
    )
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_what_is_no_text_at_all_is_named_or_shown(open_page, tmp_path):
    """Parquet's text is UTF-8; other writers leave what is none in it, as half of a surrogate pair."""
    tiny = TinyWork(tmp_path / "work")
    tiny.web()
    path = tmp_path / "work" / "pages" / "part-00000.parquet"
    table = pq.read_table(path, partitioning=None)
    halves = pa.array([b"\xed\xa0\x80 half"] * table.num_rows, pa.binary()).view(pa.string())
    for name in ("url", "domain", "title"):
        table = table.set_column(table.column_names.index(name), name, halves)
    pq.write_table(table, path)
    page = open_page(pathlib.Path(write_report(str(tmp_path / "work"))).as_uri())
    assert page.locator("main section").count() >= 4
