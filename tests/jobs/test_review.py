"""The review of URL paths: what it shows, what it writes, whom it answers, and a session by keyboard."""

import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import tomllib

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from corpus.annotations import Annotation, read_annotations, write_annotations
from corpus.errors import LodeError
from corpus.review import Review, wilson
from corpus.schema import DOCUMENT
from jobs.review import Server, Session, annotations_file
from tests.browser import browser, open_page  # noqa: F401 (fixtures)
from tests.jobs import test_mine as loop
from tests.tiny_work import HOSTILE, STATISTIC

pages, seeds = loop.pages, loop.seeds

SITES = {  # domain: {folder: (pages, collected, collected before)}
    "good.example": {"": (60, 57, 50), "/wiki": (40, 39, 35), "/forum": (12, 1, 1)},
    "half.example": {"": (50, 30, 28), "/maths": (30, 29, 28)},
    "stray.example": {"": (400, 4, 4)},
    "new.example": {"": (100, 40, 5)},
    "evil.example": {"": (20, 3, 0)},
}
SCORE = pa.schema(
    [
        ("id", pa.string()),
        ("url", pa.string()),
        ("domain", pa.string()),
        ("characters", pa.int32()),
        ("math", pa.float64()),
    ]
)


def put(folder: pathlib.Path, rows: list[dict], schema: pa.Schema, **manifest) -> None:
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "part-00000.parquet")
    stage = str(folder).split("/work/")[1]
    about = {
        "stage": stage,
        "fingerprint": stage,
        "inputs": {},
        "parameters": {},
        "dropped": {},
        "rows_in": 1,
    }
    about |= {"rows_out": 1, "rows_dropped": 0, "started": "2026-01-01", "wall_seconds": 1.0}
    (folder / "_lode.json").write_text(json.dumps(about | manifest))


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory) -> pathlib.Path:
    """Two finished rounds over a crawl of five sites, one of them hostile."""
    work = tmp_path_factory.mktemp("review") / "work"
    documents, scores = [], []
    for domain, folders in SITES.items():
        for folder, (count, _, _) in folders.items():
            for n in range(count):
                url = f"https://{domain}{folder}/{n}.html"
                text = f"page {n} of {domain}"
                title = f"Page {n}"
                if domain == "evil.example":
                    text = f"{HOSTILE} {n}"
                    title = HOSTILE if n else "T" * 10_000_000
                name = f"{len(documents):032x}"
                values = {
                    "id": name,
                    "text": text,
                    "source": "crawl",
                    "url": url,
                    "domain": domain,
                    "title": title,
                }
                documents.append(dict.fromkeys(DOCUMENT.names) | values)
                scores.append(
                    {"id": name, "url": url, "domain": domain, "characters": 9, "math": (n % 97) / 97}
                )
    put(work / "pages", documents, pa.schema([*DOCUMENT, ("title", pa.string())]))
    for number in (1, 2):
        at = work / "mining" / f"round-{number}"
        rows = [
            {
                "target": "math",
                "kind": "total",
                "key": "",
                "pages": 712,
                "collected": 203,
                "collected_before": 100,
            }
        ]
        for domain, folders in SITES.items():
            for folder, (count, collected, before) in folders.items():
                seen = {"target": "math", "pages": count, "collected": collected, "collected_before": before}
                rows += [seen | {"kind": "path", "key": f"{domain} {domain}{folder}"}]
                rows += [seen | {"kind": "domain", "key": domain}] if not folder else []
        put(at / "scores", scores, SCORE, inputs={"pages": "pages"})
        found = {"math": {"pages": 712, "collected": 203, "already_collected": 0.5, "cut": 0.0}}
        put(
            at / "statistics", rows, STATISTIC, round=found, accepted={"math": ["half.example/maths"]},
            parameters={"domain_share": 0.1, "path_share": 0.66},
        )  # fmt: skip
    return work


@pytest.fixture
def folder(reviewed, tmp_path) -> pathlib.Path:
    """A copy to write decisions into."""
    return pathlib.Path(shutil.copytree(reviewed, tmp_path / "work"))


@pytest.fixture
def server(folder):
    """A server of that folder, in this process."""
    running = Server(Session(Review(str(folder)), annotations_file(str(folder), None), ""), 0)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()


def ask(
    server: Server,
    path: str,
    method: str = "GET",
    body: object = None,
    token: str | None = None,
    **headers: str,
):
    """Status, and the answer's JSON or text."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    content = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = {"Content-Type": "application/json"} if body is not None else {}
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, f"/{server.token if token is None else token}/{path}", content, kind | names)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, json.loads(text) if answer.headers["Content-Type"] == "application/json" else text


def decide(server: Server, prefix: str, decision: str | None, was: str | None = None, note: str = ""):
    body = {"target": "math", "prefix": prefix, "decision": decision, "was": was, "note": note}
    return ask(server, "api/decide", "POST", body)


# What it shows


def test_domains_come_by_collected_share_and_the_ten_percent_rule(reviewed):
    review = Review(str(reviewed))
    assert review.round == 2
    (target,) = review.targets()
    assert (target["pages"], target["collected"], target["domains"], target["domains_over_share"]) == (
        712,
        203,
        5,
        4,
    )
    found = [(row["domain"], row["over"]) for row in review.domains("math")]
    assert found == [
        ("good.example", True), ("half.example", True), ("new.example", True), ("evil.example", True),
        ("stray.example", False),
    ]  # fmt: skip
    assert [row["domain"] for row in review.domains("math", "STRAY")] == ["stray.example"]
    tree = review.tree("math", "good.example")
    assert [node["prefix"] for node in tree["nodes"]] == [
        "good.example",
        "good.example/forum",
        "good.example/wiki",
    ]
    assert tree["more"] == 0


def test_samples_lie_under_the_prefix_and_are_the_same_each_time(reviewed):
    review = Review(str(reviewed))
    found = review.samples("math", "https://Good.example/wiki/")
    assert found["prefix"] == "good.example/wiki" and found["pages"] == 40 and len(found["samples"]) == 8
    assert all(row["url"].startswith("https://good.example/wiki/") for row in found["samples"])
    assert all(row["text"].startswith("page ") and row["characters"] > 10 for row in found["samples"])
    scores = [row["score"] for row in found["samples"]]
    assert scores == sorted(scores, reverse=True) and min(abs(score - 0.5) for score in scores) < 0.2
    assert Review(str(reviewed)).samples("math", "good.example/wiki") == found
    assert review.samples("math", "good.example/wik") == {
        "prefix": "good.example/wik", "pages": 0, "quartiles": [], "samples": [],
    }  # fmt: skip


def test_suggestions_say_what_they_move_and_why(reviewed):
    found = {s.prefix: s for s in Review(str(reviewed)).suggestions("math")}
    assert {prefix: (s.decision, s.moves) for prefix, s in found.items()} == {
        "new.example": ("look", 35),
        "stray.example": ("reject", 4),
        "half.example/maths": ("accept", 1),
        "good.example/forum": ("reject", 1),
    }
    assert "95 % of all that lies above it" in found["good.example/forum"].why
    assert "4 of 400 pages collected" in found["stray.example"].why and "strays" in found["stray.example"].why


def test_the_interval_is_wilsons():
    """Newcombe (1998), table I: 81 of 263."""
    low, high = wilson(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert wilson(0, 0) == (0.0, 1.0) and wilson(0, 10)[0] == 0.0 and wilson(10, 10)[1] == 1.0


def test_pages_that_have_moved_leave_the_addresses(reviewed, tmp_path):
    work = shutil.copytree(reviewed, tmp_path / "work")
    shutil.rmtree(work / "pages")
    found = Review(str(work)).samples("math", "good.example")
    assert found["pages"] == 112 and {row["text"] for row in found["samples"]} == {None}


def test_without_a_round_there_is_nothing_to_review(reviewed, tmp_path):
    work = shutil.copytree(reviewed, tmp_path / "work")
    with pytest.raises(LodeError, match="no round 7; there are 1, 2"):
        Review(str(work), 7)
    shutil.rmtree(work / "mining")
    with pytest.raises(LodeError, match="no mining round"):
        Review(str(work))


# Whom it answers


def test_only_its_own_page_is_answered(server):
    own = f"http://127.0.0.1:{server.server_port}"
    body = {"target": "math", "prefix": "a.example", "decision": "accept", "was": None}
    assert ask(server, "api/start")[0] == 200
    for token in ("", "x", server.token[:-1], server.token + "x"):
        assert ask(server, "api/start", token=token)[0] == 404
    strange = [("Host", "evil.example"), ("Host", f"evil.example:{server.server_port}"), ("Origin", "null")]
    strange += [("Origin", "http://evil.example"), ("Sec_Fetch_Site", "cross-site")]
    for headers in ({name: value} for name, value in strange):
        for method, content in (("GET", None), ("POST", body)):
            assert ask(server, "api/decide" if content else "api/start", method, content, **headers)[0] == 403
    assert ask(server, "api/start", Origin=own, Sec_Fetch_Site="same-origin")[0] == 200
    assert ask(server, "api/decide", "POST", body, Content_Type="text/plain")[0] == 415
    assert ask(server, "api/decide", "POST", b"{")[0] == 400
    assert ask(server, "api/decide", "POST", b" " * 70_000)[0] == 413
    assert (
        ask(server, "../annotations.toml")[0]
        == ask(server, "review.py")[0]
        == ask(server, "api/decide")[0]
        == 404
    )
    assert ask(server, "api/nothing", "POST", {})[0] == 404
    for wrong in (
        [],
        3,
        {"target": 3},
        body | {"decision": "maybe"},
        body | {"prefix": "/"},
        body | {"note": 3},
    ):
        assert ask(server, "api/decide", "POST", wrong)[0] == 400
    assert not os.path.exists(server.session.path)


def test_pages_may_load_nothing_from_elsewhere(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.request("GET", f"/{server.token}/")
    headers = connection.getresponse().headers
    connection.close()
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
    assert server.server_address[0] == "127.0.0.1"


# What it writes


def test_a_decision_is_in_the_file_before_it_is_answered_and_counts_from_the_next_round(server):
    status, found = decide(server, "https://Good.example/", "accept", note='all "good"\n')
    assert status == 200 and found["undo"] == 1
    path = server.session.path
    assert read_annotations(path) == [Annotation("math", "good.example", "accept", 3, 'all "good"\n')]
    assert decide(server, "stray.example", "reject")[0] == 200
    assert decide(server, "good.example", "reject", was="accept")[0] == 200
    assert {a.prefix: a.decision for a in read_annotations(path)} == {
        "good.example": "reject",
        "stray.example": "reject",
    }
    for left in ({"good.example": "accept", "stray.example": "reject"}, {"good.example": "accept"}, {}):
        assert ask(server, "api/undo", "POST", {})[0] == 200
        assert {a.prefix: a.decision for a in read_annotations(path)} == left
    status, found = ask(server, "api/undo", "POST", {})
    assert status == 409 and "nothing to undo" in found["error"]


def test_a_file_edited_meanwhile_is_read_again_and_nothing_is_lost(server):
    path = server.session.path
    decide(server, "good.example", "accept")
    by_hand = tomllib.loads(pathlib.Path(path).read_text())["path"]
    text = (
        pathlib.Path(path).read_text()
        + '\n[[path]]\ntarget = "math"\nprefix = "hand.example"\ndecision = "reject"\n'
    )
    pathlib.Path(path).write_text(text)
    assert len(by_hand) == 1
    assert decide(server, "stray.example", "reject")[0] == 200
    assert {a.prefix for a in read_annotations(path)} == {"good.example", "hand.example", "stray.example"}
    # Decided elsewhere since the page was drawn: the page is told, and the other decision stays.
    status, found = decide(server, "hand.example", "accept")
    assert status == 409 and "decided elsewhere: reject" in found["error"]
    pathlib.Path(path).write_text("[[path")
    status, found = decide(server, "new.example", "accept")
    assert status == 400 and "not TOML" in found["error"] and pathlib.Path(path).read_text() == "[[path"


def test_two_sessions_on_one_file_lose_nothing(folder):
    path = annotations_file(str(folder), None)
    sessions = [Session(Review(str(folder)), path, name) for name in ("ana", "ben")]

    def work(session: Session, name: str) -> None:
        for number in range(15):
            session.decide("math", f"{name}{number}.example", "accept", "", None)

    threads = [threading.Thread(target=work, args=(s, s.reviewer)) for s in sessions for _ in (1,)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(read_annotations(path)) == 30


def test_undo_leaves_what_somebody_else_decided_since(server):
    path = server.session.path
    decide(server, "good.example", "accept")
    write_annotations(path, [Annotation("math", "good.example", "reject", 3, "", "ben")])
    status, found = ask(server, "api/undo", "POST", {})
    assert status == 409 and "decided elsewhere" in found["error"]
    assert [a.decision for a in read_annotations(path)] == ["reject"]


def test_requests_that_are_none_are_refused_without_a_traceback(server, capfd):
    for line in (b"GET * HTTP/1.1", b"GET foo HTTP/1.1", b"GET http://[x/ HTTP/1.1"):
        with socket.create_connection(("127.0.0.1", server.server_port), 10) as raw:
            raw.sendall(line + f"\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n".encode())
            assert raw.recv(200).split()[1] == b"404"
    deep = b"[" * 30_000 + b"]" * 30_000
    assert ask(server, "api/decide", "POST", deep)[0] == 400
    assert ask(server, "api/decide", "POST", b"{}", Content_Length="9" * 5000)[0] == 413
    assert "Traceback" not in capfd.readouterr().err


def test_statistics_without_a_total_are_summed_from_domains(folder):
    path = folder / "mining/round-2/statistics/part-00000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.filter(pc.not_equal(table["kind"], "total")), path)
    (target,) = Review(str(folder)).targets()
    assert (target["pages"], target["collected"]) == (630, 134)


def test_a_full_disk_is_said_and_the_file_stays(server, monkeypatch):
    decide(server, "good.example", "accept")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("corpus.storage.write_text", full)
    status, found = decide(server, "stray.example", "reject")
    assert status == 507 and "No space left" in found["error"]
    assert ask(server, "api/undo", "POST", {})[0] != 200
    monkeypatch.undo()
    assert [a.prefix for a in read_annotations(server.session.path)] == ["good.example"]
    assert ask(server, "api/start")[1]["decisions"][0]["prefix"] == "good.example"
    assert ask(server, "api/undo", "POST", {})[0] == 200 and read_annotations(server.session.path) == []


def test_reviewers_files_become_one_and_what_they_do_not_agree_on_is_decided_here(folder):
    files = []
    for name, decision in (("ana", "accept"), ("ben", "reject")):
        files.append(annotations_file(str(folder), name))
        write_annotations(
            files[-1],
            [
                Annotation("math", "half.example", decision, 3, "", name),
                Annotation("math", f"{name}.example", "accept", 3),
            ],
        )
    session = Session(Review(str(folder)), annotations_file(str(folder), None), "")
    session.conflicts = session.take_in(tuple(files))
    assert [c.prefix for c in session.conflicts] == ["half.example"]
    assert {a.prefix for a in read_annotations(session.path)} == {"ana.example", "ben.example"}
    session.decide("math", "half.example", "reject", "", None)
    assert session.state()["conflicts"] == [] and len(read_annotations(session.path)) == 3
    with pytest.raises(LodeError, match="a name of letters"):
        annotations_file(str(folder), "../ana")


# In a browser


def start(folder: pathlib.Path) -> tuple[subprocess.Popen, str]:
    """The command's server in a process of its own, and its address."""
    code = "import sys; from jobs.review import serve; serve(sys.argv[1], open_browser=False)"
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(loop.pathlib.Path(__file__).parents[2])},
    )
    line = process.stdout.readline()
    return process, re.search(r"http://\S+", line).group()


def until(page, happened) -> None:
    """Wait for something; the page's policy lets nobody evaluate strings in it."""
    for _ in range(400):
        if happened():
            return
        page.wait_for_timeout(25)
    raise AssertionError(f"it did not happen: {listed(page)}")


def listed(page) -> list[str]:
    return page.locator("#list li .name").all_inner_texts()


def test_a_session_by_keyboard_survives_a_reload_and_a_killed_server(folder, open_page):  # noqa: F811
    process, url = start(folder)
    file = folder / "annotations.toml"
    try:
        page = open_page(url, expected="ERR_CONNECTION_REFUSED|Failed to load resource")
        page.wait_for_selector("#list li")
        assert listed(page) == ["new.example", "stray.example", "good.example/forum", "half.example/maths"]
        assert "page " in page.locator("#samples pre").first.inner_text()
        keys = page.keyboard
        keys.press("s")
        page.wait_for_selector("#list li.skip")
        keys.press("n")
        keys.type("spam, all of it: a r s")
        keys.press("Escape")
        keys.press("r")
        page.wait_for_selector("#list li.reject")
        assert {a.prefix: (a.decision, a.note) for a in read_annotations(str(file))} == {
            "new.example": ("skip", ""),
            "stray.example": ("reject", "spam, all of it: a r s"),
        }
        keys.press("2")  # domains
        page.wait_for_selector("li[aria-expanded]")
        assert listed(page)[0] == "▸ good.example"
        keys.press("ArrowRight")
        page.wait_for_selector("li[aria-level='3']")
        keys.press("j")
        keys.press("j")
        keys.press("a")
        page.wait_for_selector("li.accept")
        wanted = {"new.example": "skip", "stray.example": "reject", "good.example/wiki": "accept"}
        assert {a.prefix: a.decision for a in read_annotations(str(file))} == wanted
        page.reload()
        page.wait_for_selector("#list li.reject")
        assert "3 decided" in page.locator("#progress-text").inner_text()
        process.send_signal(signal.SIGKILL)
        process.wait()
        keys.press("j")
        keys.press("a")
        page.wait_for_selector("#said.error")
        assert "The server has ended" in page.locator("#said").inner_text()
        assert {a.prefix: a.decision for a in read_annotations(str(file))} == wanted
        process, url = start(folder)
        page = open_page(url)
        page.wait_for_selector("#list li.reject")
        page.keyboard.press("3")  # decided
        until(page, lambda: len(listed(page)) == 3)
        page.keyboard.press("x")  # take the first back
        until(page, lambda: "2 decided" in page.locator("#progress-text").inner_text())
        page.keyboard.press("u")
        until(page, lambda: "3 decided" in page.locator("#progress-text").inner_text())
        assert {a.prefix: a.decision for a in read_annotations(str(file))} == wanted
    finally:
        process.kill()


def test_hostile_pages_do_nothing(server, open_page):  # noqa: F811
    page = open_page(server.url, viewport={"width": 360, "height": 800})
    page.wait_for_selector("#list li")
    page.keyboard.press("2")
    page.wait_for_selector("li[aria-expanded]")
    page.keyboard.press("/")
    page.keyboard.type("evil")
    until(page, lambda: len(listed(page)) == 1)
    page.keyboard.press("Enter")
    page.wait_for_selector("#samples pre")
    text = page.locator("#samples").inner_text()
    assert "<script>alert(1)</script>" in text and "⟨U+202E⟩" in text and "\u202e" not in text
    assert len(text) < 60_000  # a title of ten million characters is cut
    assert page.locator("#samples script, #samples img, #samples svg, #samples a").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    decide(server, "evil.example", "reject", note=HOSTILE)
    page.keyboard.press("Escape")
    page.reload()
    page.wait_for_selector("#list li")
    page.keyboard.press("3")
    page.wait_for_selector("#list li.reject")
    assert "<script>" in page.locator("#list li .why").inner_text()


def test_a_review_changes_the_positives_of_the_next_round(spark, pages, seeds, tmp_path, open_page):  # noqa: F811
    work = tmp_path / "work"
    section = loop.section_of({loop.MATH: seeds[loop.MATH]}, max_rounds=1, min_pages=4)
    loop.run(spark, work, pages, section)
    process, url = start(work)
    try:
        page = open_page(url, expected="ERR_CONNECTION_REFUSED")  # samples asked for when it is killed
        page.wait_for_selector("#list li, #empty:not([hidden])")
        page.keyboard.press("2")
        page.wait_for_selector("li[aria-expanded]")
        names = [name.removeprefix("▸ ") for name in listed(page)]
        first = next(name for name in names if name not in loop.SEEDS[loop.MATH])
        for _ in range(names.index(first)):
            page.keyboard.press("j")
        page.keyboard.press("r")
        until(page, lambda: page.locator("li.reject").count())
    finally:
        process.kill()
    before = loop.rows_of(str(work / "mined"))
    assert [row for row in before if row["domain"] == first]
    after = loop.run(spark, work, pages, section)
    assert (work / "mining/round-2/examples").exists()
    assert not [row for row in after if row["domain"] == first]
    positives = loop.rows_of(str(work / "mining/round-2/examples"))
    # A row without a text is one that is no example against the target.
    assert not [row for row in positives if f"/{first}/" in (row["url"] or "") and row["text"]]
    assert [row for row in loop.rows_of(str(work / "mined")) if row["domain"] != first]
