"""What several tests share."""

import os
import pathlib

import pytest
from hypothesis import settings

from tests.browser import browser, open_page  # noqa: F401

# No test depends on timing; CI draws the same examples every time, a developer's machine new ones.
settings.register_profile("lode", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("lode")

SHARED_DATA = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """Real pages, repositories and tokenizers beside the checkout; tests that need them skip without them."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no sample data at {SHARED_DATA}")
    return SHARED_DATA
