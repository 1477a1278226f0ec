"""`lode fetch` as a user runs it: whole folders compared with what the server has, also after kills."""

import gzip
import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from corpus import storage
from corpus.commoncrawl import Query
from corpus.errors import LodeError
from corpus.http import Remote
from corpus.warc import read_warc
from jobs import cli_fetch, fetch
from jobs.progress import Progress
from tests import fake_crawl
from tests.jobs.conftest import environment, lode

CRAWL = fake_crawl.CRAWL


@pytest.fixture(scope="module")
def crawl(tmp_path_factory) -> tuple[pathlib.Path, list[dict]]:
    folder = tmp_path_factory.mktemp("crawl")
    return folder, fake_crawl.build(folder)


@pytest.fixture
def server(crawl):
    with fake_crawl.serve(crawl[0]) as running:
        yield running


def listed(server, kind: str = "warc") -> list[str]:
    from corpus.commoncrawl import list_paths

    return list_paths(Remote(), str(server.folder), CRAWL, kind)


def files(server, out, paths: list[str], **settings):
    with fetch.Folder(str(out)) as folder:
        remote = Remote(**({"pause": 0.002, "retries": 4, "stall": 0.5} | settings))
        return fetch.fetch_files(remote, server.base, folder, paths, Progress(quiet=True))


def records(server, out, query: Query, limit: int | None = None, seed: int = 0, **settings):
    with fetch.Folder(str(out)) as folder:
        remote = Remote(**({"pause": 0.002, "retries": 4, "stall": 0.5} | settings))
        progress = Progress(quiet=True)
        return fetch.fetch_records(remote, server.base, CRAWL, folder, query, limit, seed, progress)


def same_as_served(server, out: pathlib.Path, names: list[str]) -> bool:
    found = storage.expand([str(out)])
    expected = sorted(str(out / name) for name in names)
    return found == expected and all(
        (out / name).read_bytes() == (server.folder / name).read_bytes() for name in names
    )


def entries(out: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (out / fetch.LIST).read_text().splitlines()]


def hidden(out: pathlib.Path) -> set[str]:
    return {path.name for path in out.rglob(".*")} - {".lock"}


def test_the_command(server, tmp_path):
    """Files, more files, and nothing to do; what is listed has the digests of what is there."""
    out = tmp_path / "out"
    arguments = ("fetch", "commoncrawl", "--crawl", CRAWL, "--out", str(out), "--base", server.base, "--json")
    server.faults = {"0000.warc.gz": ["503"], "0002.warc.gz": ["truncate"], "0004.warc.gz": ["reset"]}
    first = json.loads(lode(*arguments, "--files", "3").stdout)
    assert first["files"] == first["fetched_now"] == 3 and first["bytes"] > 100_000
    done = next(out.rglob("*.warc.gz"))
    done.with_name(f".{done.name}.mark").write_text("{}")  # as a kill leaves it between two steps
    more = json.loads(lode(*arguments, "--files", "5").stdout)
    assert (more["files"], more["fetched_now"]) == (5, 2)
    assert same_as_served(server, out, [entry["file"] for entry in more["entries"]])
    for entry in entries(out):
        assert entry["sha256"] == hashlib.sha256((out / entry["file"]).read_bytes()).hexdigest()
        assert entry["url"] == server.base + entry["file"] and entry["members"] == 24 and entry["etag"]
    assert hidden(out) == set()
    server.log.clear()
    again = lode(*arguments, "--files", "5")
    assert json.loads(again.stdout)["fetched_now"] == 0 and "5 were there already" in again.stderr
    assert [path for path, _ in server.log] == [f"crawl-data/{CRAWL}/warc.paths.gz"]


def test_wet_files_and_lists(server, tmp_path):
    names = listed(server, "wet")
    text = tmp_path / "list.txt"
    text.write_text(f"# two of them\n{names[0]}\n\n{server.base}{names[3]}\n")
    done = lode(
        "fetch", "commoncrawl", "--list", str(text), "--out", str(tmp_path / "o"), "--base", server.base
    )
    assert done.returncode == 0, done.stderr
    assert same_as_served(server, tmp_path / "o", [names[0], names[3]])
    assert all(row.is_text for row in read_warc(str(tmp_path / "o" / names[0])))
    done = lode(
        "fetch", "commoncrawl", "--crawl", CRAWL, "--kind", "wet", "--files", "2", "--out", str(tmp_path / "w"),
        "--base", str(server.folder),
    )  # fmt: skip
    assert done.returncode == 0 and len(storage.expand([str(tmp_path / "w")])) == 2


def test_no_more_connections_than_allowed(server, tmp_path):
    server.pace = 0.002
    files(server, tmp_path, listed(server), connections=2)
    assert server.busy == 2


def test_one_missing_file_costs_itself(server, tmp_path):
    names = listed(server)
    with pytest.raises(LodeError, match=r"1 file could not be fetched, 6 are there. The first: .*none.*404"):
        files(server, tmp_path, ["crawl-data/none.warc.gz", *names])
    assert same_as_served(server, tmp_path, names)


def test_a_dead_server_stops_all(server, tmp_path):
    server.faults = {".warc.gz": ["503"] * 1000}
    with pytest.raises(LodeError, match=r"given up after .* 503 SlowDown"):
        files(server, tmp_path, listed(server))
    assert len(server.log) < 30
    assert storage.visible_names(str(tmp_path)) in ([], ["crawl-data"])
    server.faults = {}
    files(server, tmp_path, listed(server))
    assert same_as_served(server, tmp_path, listed(server))


def test_files_that_lie_there_are_checked_and_kept_or_replaced(server, tmp_path):
    """Without the list: whole files are not fetched again, a cut and a damaged one are."""
    names = listed(server)
    files(server, tmp_path, names)
    (tmp_path / fetch.LIST).unlink()
    whole = (tmp_path / names[1]).read_bytes()
    (tmp_path / names[1]).write_bytes(whole[:5000])
    (tmp_path / names[2]).write_bytes(whole[:3000] + b"rubbish" + whole[3007:])
    (tmp_path / names[3]).write_bytes(gzip.compress(b"WARC/1.0\r\n"))  # whole, and another one
    server.log.clear()
    files(server, tmp_path, names)
    assert same_as_served(server, tmp_path, names)
    assert {path for path, asked in server.log if asked != "bytes=0-0"} == {names[1], names[2], names[3]}
    (tmp_path / names[4]).write_bytes(b"x" * os.path.getsize(tmp_path / names[4]) + b"x")
    files(server, tmp_path, names)
    assert same_as_served(server, tmp_path, names) and hidden(tmp_path) == set()


def test_two_urls_of_one_name(server, tmp_path):
    with pytest.raises(LodeError, match="would both be written to"):
        files(server, tmp_path, ["http://a.org/x.warc.gz?1", "http://a.org/x.warc.gz?2"])


def fetching(server, out: pathlib.Path, *what: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "jobs.cli", "fetch", "commoncrawl", "--crawl", CRAWL, "--out", str(out)]
    return subprocess.Popen([*command, "--base", server.base, "-q", *what], env=environment())


def archived(out: pathlib.Path) -> int:
    return sum(p.stat().st_size for p in out.rglob("*") if p.name.endswith((".warc.gz", ".warc.gz.part")))


@pytest.mark.parametrize(
    "what, budgets",
    [
        (("--files", "6"), (40_000, 90_000, 1_000, 120_000)),
        (("--domain", "site1.org", "--domain", "site2.org"), (10_000, 70_000, 30_000)),
    ],
)
def test_killed_and_run_again(server, tmp_path, what, budgets):
    """kill -9 whenever the server has sent some more; the same bytes as without a kill."""
    calm, out = tmp_path / "calm", tmp_path / "out"
    base = ("fetch", "commoncrawl", "--crawl", CRAWL, "--base", str(server.folder))
    assert lode(*base, "--out", str(calm), *what).returncode == 0
    for budget in budgets:
        server.hold_after(budget)
        process = fetching(server, out, *what)
        assert server.held.wait(60) and process.poll() is None
        if what[0] == "--files":  # what is on its way arrives, for nothing else is sent
            while archived(out) < sum(n for path, n in server.sent.items() if path.endswith(".warc.gz")):
                assert process.poll() is None
                time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    server.hold_after(None)
    server.log.clear()
    assert fetching(server, out, *what).wait() == 0
    names = [os.path.relpath(path, calm) for path in storage.expand([str(calm)])]
    assert storage.expand([str(out)]) == [str(out / name) for name in names]
    for name in names:
        assert (out / name).read_bytes() == (calm / name).read_bytes()
    kept = {entry["file"]: entry["sha256"] for entry in entries(calm)}
    assert {entry["file"]: entry["sha256"] for entry in entries(out)} == kept and hidden(out) == set()
    asked = [asked for path, asked in server.log if path.endswith(".warc.gz")]
    if what[0] == "--files":  # nothing is fetched twice
        assert any(asked)
        sizes = {path: os.path.getsize(server.folder / path) for path in server.sent}
        assert all(server.sent[path] == size for path, size in sizes.items() if path.endswith(".warc.gz"))


def test_the_index_names_records(crawl, server, tmp_path):
    query = Query(domains=("site3.org",), languages=("eng",))
    done = records(server, tmp_path, query)
    wanted = {
        row["url"]
        for row in crawl[1]
        if row["url_host_registered_domain"] == "site3.org"
        and (row["content_languages"] or "").startswith("eng")
    }
    rows = [row for path in storage.expand([str(tmp_path)]) for row in read_warc(path)]
    assert {row.url for row in rows} == wanted and len(rows) == done["records"] == len(wanted)
    assert all(row.reason is None for row in rows) and done["dropped"] == {}
    with storage.open_parquet(str(tmp_path / fetch.PLAN)) as plan:
        assert set(plan.read(["url"])["url"].to_pylist()) == wanted
    server.log.clear()
    assert records(server, tmp_path, query)["fetched_now"] == 0 and server.log == []
    with pytest.raises(LodeError, match="records of another query"):
        records(server, tmp_path, Query(domains=("site4.org",)))
    with pytest.raises(LodeError, match="no capture in its index matches"):
        records(server, tmp_path / "none", Query(domains=("site33.org",)))


def test_a_limit_draws_the_same_records_from_all_over(crawl, server, tmp_path):
    query = Query(mimes=("text/html",))
    urls = []
    for name, seed, connections in (("a", 0, 4), ("b", 0, 1), ("c", 1, 4)):
        done = records(server, tmp_path / name, query, 20, seed, connections=connections)
        paths = storage.expand([str(tmp_path / name)])
        urls.append(sorted(row.url for path in paths for row in read_warc(path)))
        assert done["records"] == 20 == len(set(urls[-1]))
    assert urls[0] == urls[1] != urls[2]
    every = sum(row["content_mime_detected"] == "text/html" for row in crawl[1])
    assert records(server, tmp_path / "d", query, 10_000)["records"] == every


def test_a_faulty_index_and_faulty_records(server, tmp_path):
    server.faults = {".parquet": ["503", "reset", "truncate", "500"], ".warc.gz": ["503", "flip", "truncate"]}
    calm = records(server, tmp_path / "a", Query(domains=("site3.org",)))
    server.faults = {}
    assert calm["bytes"] == records(server, tmp_path / "b", Query(domains=("site3.org",)))["bytes"]


def test_records_that_are_gone_are_counted(crawl, server, tmp_path):
    server.faults = {"00001.warc.gz": ["404"] * 100}
    done = records(server, tmp_path, Query(urls=("*",)))
    assert done["dropped"] == {"missing_file": 12} and done["records"] + 12 == len(crawl[1])


def test_a_full_disk(server, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=150k", "tmpfs", disk]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this test mounts a small file system, which needs root")
    try:
        done = lode("fetch", "commoncrawl", "--crawl", CRAWL, "--files", "6", "--out", str(disk / "o"), "--base",
                    server.base)  # fmt: skip
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert "No space left on device" in done.stderr.strip().splitlines()[-1]
        for path in (disk / "o").rglob("*.warc.gz"):
            assert path.name.startswith(".") or path.stat().st_size > 60_000
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_wrong_settings_are_one_sentence(server, tmp_path):
    out = str(tmp_path / "o")
    for sentence, settings in (
        ("either --crawl or --list", {"files": 3}),
        ("with --files", {"crawl": CRAWL}),
        ("leave out --list", {"crawl": CRAWL, "domain": ["a.org"], "files": 2}),
        ("--limit: counts records", {"crawl": CRAWL, "files": 2, "limit": 5}),
        ("valid are warc, wet", {"crawl": CRAWL, "files": 2, "kind": "wat"}),
        ("not the name of a crawl", {"crawl": "../x", "files": 2}),
        ("three letters", {"crawl": CRAWL, "language": ["en"]}),
        ("404 Not Found: there is no such file", {"crawl": "CC-MAIN-1999-01", "files": 2}),
    ):
        with pytest.raises(LodeError, match=re.escape(sentence)):
            cli_fetch.commoncrawl(out=out, base=server.base, quiet=True, **settings)
    with pytest.raises(LodeError, match="needs a local folder"):
        cli_fetch.commoncrawl(crawl=CRAWL, files=1, out="memory://x", base=server.base, quiet=True)
    with fetch.Folder(out):
        done = lode("fetch", "commoncrawl", "--out", out, "--crawl", CRAWL, "--files", "2")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "another lode is fetching" in done.stderr.strip().splitlines()[-1]


def test_a_damaged_list_names_its_line(tmp_path):
    (tmp_path / fetch.LIST).write_text('{"file": "a", "bytes": 0}\nrubbish\n{"file": "b", "by')
    with pytest.raises(LodeError, match="line 2"), fetch.Folder(str(tmp_path)):
        pass
