"""Pages in a real browser: the system's Chromium, watched for errors and for anything it would fetch from elsewhere.

Set CHROMIUM to a browser that is not on the PATH.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
# No name but this machine's is found, so that nothing leaves it even while a test fails.
OPTIONS = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost", "--disable-gpu"]
LOCAL = {"127.0.0.1", "localhost"}


class Watch:
    """What a page did that nobody asked for: errors and warnings, dialogs, new windows, requests."""

    def __init__(self, url: str, expected: str | None = None):
        self.page = urlsplit(url)
        self.expected = expected
        self.errors: list[str] = []
        self.requests: list[str] = []

    def error(self, text: str) -> None:
        if not (self.expected and re.search(self.expected, text)):
            self.errors.append(text)

    def strangers(self) -> list[str]:
        """Requests that are neither the page itself nor, of a page that is served, to its own server."""
        return [url for url in self.requests if not self._own(urlsplit(url))]

    def _own(self, url: Any) -> bool:
        if self.page.scheme == "file":
            return (url.scheme, url.path) == ("file", self.page.path)
        return url.hostname in LOCAL and (url.scheme, url.netloc) == (self.page.scheme, self.page.netloc)

    def follow(self, page: Any) -> None:
        page.on(
            "console",
            lambda said: said.type in ("error", "warning") and self.error(f"{said.type}: {said.text}"),
        )
        page.on("pageerror", lambda error: self.error(f"exception: {error}"))
        page.on("crash", lambda _: self.error("the page crashed"))
        page.on("popup", lambda other: self.error(f"a window opened: {other.url}"))
        page.on("download", lambda file: self.error(f"a download began: {file.url}"))
        page.on("websocket", lambda socket: self.requests.append(socket.url))
        page.on("dialog", self._dialog)
        page.context.on("request", lambda request: self.requests.append(request.url))

    def _dialog(self, dialog: Any) -> None:
        self.error(f"a dialog: {dialog.message}")
        dialog.dismiss()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, for the tests of one file: while it runs, no other event loop can in the same thread."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (the extra `test` has it)"
    )
    named = os.environ.get("CHROMIUM")
    path = named or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no Chromium here: none of {', '.join(NAMES)} is on the PATH, and CHROMIUM is not set")
    with api.sync_playwright() as playwright:
        # Root has no sandbox: Chromium does not start with one.
        chromium = playwright.chromium.launch(
            executable_path=path, args=OPTIONS, chromium_sandbox=os.geteuid() != 0
        )
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """`open_page(url, expected=None, **options)`: a page in a context of its own, loaded.

    At the end of the test none of its pages may have shown an error (but those that the regular expression `expected`
    finds), opened a dialog or a window, or asked for anything but itself and its own server. `options` are those of
    Playwright's `new_context`: `viewport`, `color_scheme`, `reduced_motion` and so on. `page.watch` is the account.
    """
    contexts, watches = [], []

    def open_it(url: str, expected: str | None = None, **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.watch = Watch(url, expected)
        page.watch.follow(page)
        watches.append(page.watch)
        page.goto(url)
        return page

    yield open_it
    for context in contexts:
        context.close()
    for watch in watches:
        assert not watch.errors, watch.errors[:5]
        assert not watch.strangers(), watch.strangers()[:5]
