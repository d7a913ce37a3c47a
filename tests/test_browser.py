"""The watcher of pages notices what it is there to notice."""

import pytest

from tests.browser import overflow


def written(folder, body):
    path = folder / "page.html"
    path.write_text(f"<!doctype html><html lang='en'><title>t</title><body>{body}</body></html>", encoding="utf-8")
    return path.as_uri()


def test_a_quiet_page_passes_in_the_window_that_was_asked_for(visit, tmp_path):
    with visit(written(tmp_path, "<h1>quiet</h1>"), width=390, dark=True) as page:
        assert page.inner_text("h1") == "quiet"
        assert page.evaluate("innerWidth") == 390
        assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
        assert overflow(page) == 0


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("<script>console.error('broken')</script>", "errors on its console"),
        ("<script>nothing.there()</script>", "errors on its console"),
        ("<img src='http://example.org/pixel.png' alt=''>", "from outside"),
    ],
)
def test_what_a_page_must_not_do_fails_the_test(visit, tmp_path, body, complaint):
    with pytest.raises(AssertionError, match=complaint), visit(written(tmp_path, body)) as page:
        page.wait_for_load_state("load")


def test_a_page_that_is_too_wide_is_seen(visit, tmp_path):
    with visit(written(tmp_path, "<div style='width: 500px; margin: 0'>wide</div>"), width=390) as page:
        assert overflow(page) > 100
