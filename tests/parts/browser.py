"""A real browser for tests: Debian's Chromium, headless, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright


def require_chromium() -> str:
    """Return where Chromium is; skip the test, saying why, where there is none."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser."""
    executable = require_chromium()
    with sync_playwright() as playwright:
        # Without its sandbox, which root may not have, it still sees nothing but pages of the test's own.
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()
