"""`lode review`: a page of this machine's own where a person decides about URL paths between two mining rounds.

The server listens on 127.0.0.1 alone, under a path that nobody can guess, and takes orders from its own page only. What
it sends of the corpus is data: the page shows it as text and never as HTML. Every decision is in the file before it
is answered, so a killed server loses nothing.
"""

import contextlib
import fcntl
import hmac
import json
import secrets
import threading
import webbrowser
from collections.abc import Iterator
from dataclasses import asdict, replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlsplit

import typer

from corpus import storage
from corpus.annotations import (
    Annotation,
    Conflict,
    annotation_of,
    merge,
    read_annotations,
    write_annotations,
)
from corpus.errors import LodeError
from corpus.review import Review
from jobs.mine import ANNOTATIONS

BODY = 1 << 16  # bytes of a request
NOTE = 4_000  # characters of a note
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
FILES = {
    "": ("review.html", "text/html; charset=utf-8"),
    "report.css": ("report.css", "text/css; charset=utf-8"),
    "review.css": ("review.css", "text/css; charset=utf-8"),
    "review.js": ("review.js", "text/javascript; charset=utf-8"),
}


def serve(
    work: str,
    reviewer: str | None = None,
    port: int | None = None,
    open_browser: bool = True,
    merged: tuple[str, ...] = (),
) -> None:
    """Serve the page until Ctrl-C.

    Args:
        reviewer: whose decisions these are; they go into a file of that name beside `annotations.toml`.
        merged: reviewers' files to make `annotations.toml` of first.

    Raises:
        LodeError: there is no mining round, a file can not be read or written, or the port is taken.
    """
    session = Session(Review(work), annotations_file(work, reviewer), reviewer or "")
    if merged:
        session.conflicts = session.take_in(merged)
        typer.echo(f"{len(merged)} files merged into {session.path}.")
        for conflict in session.conflicts:
            said = ", ".join(f"{one.reviewer or 'somebody'}: {one.decision}" for one in conflict.said)
            typer.echo(f"  {conflict.target} {conflict.prefix}: {said}; decide it in the page")
    try:
        server = Server(session, port or 0)
    except OSError as error:
        raise LodeError(
            f"--port {port}: {error.strerror or error}; choose another, or leave it out."
        ) from None
    typer.echo(
        f"Review round {session.review.round} of {work}: {server.url}\nDecisions go to {session.path}. Ctrl-C ends."
    )
    if open_browser:
        threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
    typer.echo(f"{len(session.annotations)} decisions are in {session.path}.\n{session.next_step}")


def annotations_file(work: str, reviewer: str | None) -> str:
    """`annotations.toml`, which mining reads, or the file of one of several reviewers beside it."""
    if reviewer is None:
        return storage.join(storage.absolute(work), ANNOTATIONS)
    if not reviewer.replace("-", "").replace("_", "").isalnum():
        raise LodeError(f"--reviewer {reviewer!r}: a name of letters, digits, - and _ was expected.")
    return storage.join(storage.absolute(work), f"annotations-{reviewer}.toml")


class Refused(Exception):
    """A request that is not carried out, and why."""

    def __init__(self, status: HTTPStatus, why: str):
        super().__init__(why)
        self.status, self.why = status, why


class Session:
    """Decisions in a file, shared with whoever else writes it."""

    def __init__(self, review: Review, path: str, reviewer: str):
        self.review, self.path, self.reviewer = review, path, reviewer
        self.conflicts: list[Conflict] = []
        self.annotations: dict[tuple[str, str], Annotation] = {}
        # Places, what stood there before, and what this session wrote there.
        self._undo: list[tuple[tuple[str, str], Annotation | None, Annotation | None]] = []
        self._lock = threading.Lock()
        self._suggestions: dict[str, list[dict[str, Any]]] = {}
        with self._file():
            pass

    @property
    def next_step(self) -> str:
        if self.path.rpartition("/")[2] != ANNOTATIONS:
            return f"Make one file of all reviewers': lode review {self.review.work} --merge {self.path} ..."
        return (
            f"Give the command that made {self.review.work} again: it reads them and goes on with round "
            f"{self.review.round + 1}."
        )

    @contextlib.contextmanager
    def _file(self) -> Iterator[None]:
        """The decisions as the file has them now, held against other writers."""
        with self._lock, contextlib.ExitStack() as held:
            if storage.is_local(self.path):
                lock = held.enter_context(open(f"{self.path}.lock", "w"))
                fcntl.flock(lock, fcntl.LOCK_EX)
            fs, inside = storage.filesystem(self.path)
            found = read_annotations(self.path) if fs.exists(inside) else []
            self.annotations = {one.place: one for one in found}
            yield

    def take_in(self, files: tuple[str, ...]) -> list[Conflict]:
        """Make one file of several, this one among them; what they do not agree on is returned and left out."""
        with self._file():
            own = [self.path] if self.annotations else []
            merged, conflicts = merge(
                [*own, *(file for file in files if storage.absolute(file) != self.path)]
            )
            self.annotations = {one.place: one for one in merged}
            write_annotations(self.path, merged)
        return conflicts

    def decide(
        self, target: str, prefix: str, decision: str | None, note: str, was: str | None
    ) -> dict[str, Any]:
        """Write a decision, or take one back (None). `was`: the decision that the reviewer saw before."""
        where = "the decision"
        wanted = annotation_of({"target": target, "prefix": prefix, "decision": decision or "skip"}, where)
        with self._file():
            before = self.annotations.get(wanted.place)
            if (before.decision if before else None) != was:
                raise Refused(
                    HTTPStatus.CONFLICT,
                    f"{wanted.prefix} has been decided elsewhere: {before.decision if before else 'taken back'}. "
                    "Look again.",
                )
            # It is said about this round's result, and so counts from the next one on.
            after = replace(wanted, round=self.review.round + 1, note=note[:NOTE], reviewer=self.reviewer)
            self._set(wanted.place, after if decision else None)
            self._undo.append((wanted.place, before, self.annotations.get(wanted.place)))
            self.conflicts = [one for one in self.conflicts if (one.target, one.prefix) != wanted.place]
        return self.state() | {"changed": list(wanted.place)}

    def undo(self) -> dict[str, Any]:
        """Take the last decision of this session back."""
        with self._file():
            if not self._undo:
                raise Refused(HTTPStatus.CONFLICT, "There is nothing to undo.")
            place, before, written = self._undo[-1]
            if self.annotations.get(place) != written:
                self._undo.pop()
                raise Refused(
                    HTTPStatus.CONFLICT, f"{place[1]} has been decided elsewhere since; it stays as it is."
                )
            self._set(place, before)
            self._undo.pop()
        return self.state() | {"changed": list(place)}

    def _set(self, place: tuple[str, str], value: Annotation | None) -> None:
        changed = {key: one for key, one in self.annotations.items() if key != place}
        if value:
            changed[place] = value
        write_annotations(self.path, changed.values())
        self.annotations = changed

    def state(self) -> dict[str, Any]:
        """The decisions, for the page."""
        return {
            "decisions": [asdict(one) for one in self.annotations.values()],
            "conflicts": [
                {"target": c.target, "prefix": c.prefix, "said": [asdict(one) for one in c.said]}
                for c in self.conflicts
            ],
            "undo": len(self._undo),
        }

    def start(self) -> dict[str, Any]:
        with self._file():
            pass
        review = self.review
        return self.state() | {
            "work": review.work,
            "round": review.round,
            "reviewer": self.reviewer,
            "file": storage.join(review.work, self.path.rpartition("/")[2]),
            "domain_share": review.domain_share,
            "targets": review.targets(),
            "next_step": self.next_step,
        }

    def suggestions(self, target: str) -> list[dict[str, Any]]:
        if target not in self._suggestions:
            self._suggestions[target] = [asdict(one) for one in self.review.suggestions(target)]
        return self._suggestions[target]


class Server(ThreadingHTTPServer):
    """The page and its data under `url`."""

    daemon_threads = True

    def __init__(self, session: Session, port: int):
        self.session = session
        self.token = secrets.token_urlsafe(24)
        super().__init__(("127.0.0.1", port), Handler)
        self.hosts = {f"127.0.0.1:{self.server_port}", f"localhost:{self.server_port}"}
        self.url = f"http://127.0.0.1:{self.server_port}/{self.token}/"


class Handler(BaseHTTPRequestHandler):
    """One request. A page from elsewhere can neither read nor order anything: it does not know the token, its requests
    carry another origin, and a name that it points at 127.0.0.1 is not one of this server's."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, work: Any) -> None:
        try:
            self._check()
            status, kind, body = work(*self._where())
        except Refused as refused:
            status, kind, body = (
                refused.status,
                "application/json",
                json.dumps({"error": refused.why}).encode(),
            )
            self.close_connection = True
        except LodeError as error:
            status, kind = HTTPStatus.INTERNAL_SERVER_ERROR, "application/json"
            body = json.dumps({"error": str(error)}).encode()
        with contextlib.suppress(ConnectionError):  # whoever asked has gone
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **HEADERS}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    def _check(self) -> None:
        if self.headers.get("Host") not in self.server.hosts:
            raise Refused(HTTPStatus.FORBIDDEN, "This server answers to 127.0.0.1 only.")
        if self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise Refused(HTTPStatus.FORBIDDEN, "Requests of other pages are not answered.")
        origin = self.headers.get("Origin")
        if origin is not None and origin not in {f"http://{host}" for host in self.server.hosts}:
            raise Refused(HTTPStatus.FORBIDDEN, "Requests of other origins are not answered.")

    def _where(self) -> tuple[str, dict[str, str]]:
        """The path below the token, and the query."""
        try:
            parts = urlsplit(self.path)
            _, token, *rest = parts.path.split("/", 2)
        except ValueError:
            raise Refused(HTTPStatus.NOT_FOUND, "There is nothing here.") from None
        if not rest or not hmac.compare_digest(token.encode(), self.server.token.encode()):
            raise Refused(HTTPStatus.NOT_FOUND, "There is nothing here.")
        return rest[0], {name: values[-1] for name, values in parse_qs(parts.query).items()}

    def _get(self, path: str, query: dict[str, str]) -> tuple[HTTPStatus, str, bytes]:
        if path in FILES:
            name, kind = FILES[path]
            return HTTPStatus.OK, kind, resources.files("jobs").joinpath(name).read_bytes()
        session = self.server.session
        review = session.review
        answers: dict[str, Any] = {
            "api/start": session.start,
            "api/domains": lambda: review.domains(query.get("target", ""), query.get("search", "")),
            "api/tree": lambda: review.tree(query.get("target", ""), query.get("domain", "")),
            "api/samples": lambda: review.samples(query.get("target", ""), query.get("prefix", "")),
            "api/suggestions": lambda: session.suggestions(query.get("target", "")),
        }
        if path not in answers:
            raise Refused(HTTPStatus.NOT_FOUND, "There is nothing here.")
        return as_json(answers[path]())

    def _post(self, path: str, _: dict[str, str]) -> tuple[HTTPStatus, str, bytes]:
        if self.headers.get("Content-Type", "").partition(";")[0] != "application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "JSON was expected.")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or len(length) > 9 or int(length) > BODY:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"At most {BODY:,} bytes were expected.")
        try:
            asked = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise Refused(HTTPStatus.BAD_REQUEST, "JSON was expected.") from None
        session = self.server.session
        if path == "api/undo":
            return as_json(session.undo())
        if path != "api/decide":
            raise Refused(HTTPStatus.NOT_FOUND, "There is nothing here.")
        values = (
            [asked.get(name) for name in ("target", "prefix", "decision", "note", "was")]
            if isinstance(asked, dict)
            else []
        )
        target, prefix, decision, note, was = values or [None] * 5
        if not isinstance(target, str) or not isinstance(prefix, str) or not isinstance(note or "", str):
            raise Refused(HTTPStatus.BAD_REQUEST, "target and prefix were expected.")
        try:
            return as_json(session.decide(target, prefix, decision, note or "", was))
        except LodeError as error:
            status = HTTPStatus.INSUFFICIENT_STORAGE if "written" in str(error) else HTTPStatus.BAD_REQUEST
            raise Refused(status, str(error)) from None

    def log_message(self, *_: Any) -> None:
        """Nothing: the terminal is for what matters."""


def as_json(value: Any) -> tuple[HTTPStatus, str, bytes]:
    # Text from the web may hold halves of surrogate pairs; escaped, every byte of the answer is ASCII.
    return HTTPStatus.OK, "application/json", json.dumps(value, ensure_ascii=True).encode()
