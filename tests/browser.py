"""A headless Chromium for tests of pages: every console error and every request to the outside fails the test."""

import contextlib
import shutil

import pytest

# Chromium on its own would call home; a page under test must not, so nothing else may either.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars",
]  # fmt: skip
_NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser():
    """Playwright's Browser, of the Chromium that is installed; skips where there is none."""
    executable = next(filter(None, map(shutil.which, _NAMES)), None)
    if executable is None:
        pytest.skip(f"no browser to look at pages with: none of {', '.join(_NAMES)} is installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=executable, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser):
    """`with visit(url) as page`: a page that is watched, and judged when the block ends.

    Options: width and height of the window, dark, allow (origins that may be asked beside the page's own, e.g. a
    server's), and whatever Browser.new_context takes.
    """

    @contextlib.contextmanager
    def visiting(url, *, width=1280, height=900, dark=False, allow=(), **options):
        errors, outside = [], []
        own = url if url.startswith("file:") else "/".join(url.split("/")[:3]) + "/"

        def decide(route):
            asked = route.request.url
            if asked.startswith((own, "data:", "blob:", "about:", *allow)):
                route.continue_()
            else:
                outside.append(asked)
                route.abort()

        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", **options
        )
        try:
            context.route("**/*", decide)
            page = context.new_page()
            page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(url)
            yield page
        finally:
            context.close()
        assert outside == [], "the page asked for something from outside"
        assert errors == [], "the page has errors on its console"

    return visiting


def overflow(page):
    """Pixels by which the page is wider than its window: 0 where nobody has to scroll sideways."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
