"""The page in a browser: nothing on its console, nothing asked from outside, and every part does what it shows."""

import re

import pytest

from tests.browser import overflow
from tests.explorer.conftest import MARKUP


def wait_for(page, part, text):
    page.wait_for_function(
        "([part, text]) => document.querySelector(part)?.innerText.includes(text)", arg=[part, text], timeout=60_000
    )


def search_for(page, typed):
    page.fill("#search input", typed)
    page.wait_for_selector("#search li")


def test_a_question_is_asked_answered_explained_and_compared(visit, served, explorer):
    with visit(served) as page:
        # The first question and its answers.
        page.wait_for_selector("#answers .card")
        assert page.locator("#answers section").count() == 2
        # Search with the keyboard.
        search_for(page, "thing 7")
        assert page.locator("#search li").first.inner_text().split("\n")[0] == "Thing 7"
        page.press("#search input", "ArrowDown")
        page.press("#search input", "Enter")
        wait_for(page, "#chosen", "Thing 7")
        shown = page.locator("#answers section").first.locator(".card .label").all_inner_texts()
        given = explorer.find("e07")
        relation = page.locator("#relation input").input_value()
        question = explorer.question("tail", given, explorer.dataset.relations.find(relation, "relation"))
        expected = explorer.ask(question)[0]
        assert shown == [answer.entity.label for answer in expected.answers]
        # A name that is not there.
        page.fill("#search input", "Thinng 12")
        page.press("#search input", "Enter")
        wait_for(page, "#message", "“Thinng 12” is not in pictured")
        # What train lists can be left out.
        page.get_by_label("leave out what train lists").check()
        page.wait_for_function("!document.querySelector('#answers .card.train')")
        # The other side.
        page.get_by_label("its heads").check()
        page.wait_for_function("document.querySelector('#chosen .sentence').innerText.startsWith('?')")
        # An answer, explained by the run in whose column it stands.
        page.locator("#answers section").nth(1).locator(".card").nth(1).click()
        wait_for(page, "#why", "no sampler to explain: uniform")
        page.get_by_role("tab", name="Answers").click()
        page.locator("#answers section").nth(0).locator(".card").nth(1).click()
        wait_for(page, "#why", "Hard negatives")
        assert page.locator("#why .card.negative").count() == 12
        assert re.search(r"ranks \d", page.inner_text("#why"))
        # The comparison.
        page.get_by_role("tab", name="Compare").click()
        wait_for(page, "#compare", "Overall, on test")
        assert page.locator("#compare table").count() >= 1


@pytest.mark.slow
def test_a_bad_label_is_told_and_the_nearest_are_offered(visit, served):
    with visit(f"{served}/?entity=Thinng+12") as page:
        wait_for(page, "#message", "“Thinng 12” is not in pictured")
        page.fill("#search input", "the twin")
        page.press("#search input", "Enter")
        wait_for(page, "#message", "2 entities are called “the twin”")
        page.click("#message button >> nth=1")
        wait_for(page, "#chosen", "e59")
        page.wait_for_function("!document.querySelector('#message .mx-message')")
        page.fill("#search input", "qqqqqqqq")
        page.press("#search input", "Enter")
        wait_for(page, "#message", "nothing is spelled like it")
        wait_for(page, "#chosen", "e59")


@pytest.mark.slow
def test_a_name_that_is_markup_stays_text(visit, served):
    with visit(f"{served}/?entity=e03") as page:
        wait_for(page, "#chosen", MARKUP)
        search_for(page, "onerror")
        assert page.locator("#search li span").nth(1).inner_text() == MARKUP
        page.keyboard.press("Escape")
        page.get_by_role("tab", name="Why").click()
        page.wait_for_selector("#why .mx-why")
        assert MARKUP in page.inner_text("#why")
        assert "broken" not in page.title()
        assert page.locator("img[src='x']").count() == 0


@pytest.mark.slow
def test_the_map_shows_every_entity_and_a_click_asks_about_one(visit, served, explorer):
    with visit(f"{served}/?entity=e01&relation=r0") as page:
        page.wait_for_selector("#answers .card")
        page.get_by_role("tab", name="Map").click()
        page.wait_for_selector("#map canvas[data-points='60']")
        assert page.get_attribute("#map canvas", "data-key") == "mmrns tsne"
        found, _ = explorer.map("tsne")
        box = page.locator("#map canvas").bounding_box()
        side = min(box["width"], box["height"]) - 30
        # A point that stands alone enough to be hit.
        row = max(
            range(60),
            key=lambda n: min(abs(found.x[n] - found.x[m]) + abs(found.y[n] - found.y[m]) for m in range(60) if m != n),
        )
        x = box["x"] + box["width"] / 2 + (found.x[row] - 0.5) * side
        y = box["y"] + box["height"] / 2 + (0.5 - found.y[row]) * side
        page.mouse.move(x, y)
        wait_for(page, "#map .tip", explorer.entity(row).label)
        page.mouse.click(x, y)
        wait_for(page, "#chosen", explorer.dataset.entities.ids[row])
        page.get_by_role("tab", name="Map").click()
        page.get_by_label("principal components").check()
        page.wait_for_selector("#map canvas[data-key='mmrns pca']")
        page.locator("#map-run").get_by_label("uniform").check()
        page.wait_for_selector("#map canvas[data-key='uniform pca']")
        page.locator("#map .legend button").first.click()
        assert page.locator("#map .legend button[aria-pressed='false']").count() == 1


@pytest.mark.slow
def test_heat_maps_are_shown_for_an_answer_with_a_picture(visit, served, explorer):
    with visit(f"{served}/?entity=e01&relation=r0") as page:
        page.wait_for_selector("#answers .card")
        for name in ("mmrns", "uniform"):
            page.get_by_role("tab", name="Why").click()
            page.locator("#run").get_by_label(name).check()
            wait_for(page, "#why .fact .run", name)
        page.locator("#run").get_by_label("mmrns").check()
        wait_for(page, "#why", "Hard negatives")
        rows = {explorer.dataset.entities.ids[row]: row for row in range(12)}
        negative = page.locator(
            ", ".join(f"#why .card.negative[data-row='{r}']" for r in rows.values() if r != 4)
        ).first
        label = negative.locator(".label").inner_text()
        negative.click()
        wait_for(page, "#why", f"What the attention looks at in {label}")
        sources = page.locator("#why .heat img").evaluate_all("images => images.map(image => image.src.slice(0, 22))")
        assert len(sources) == 3 and set(sources) == {"data:image/webp;base64"}
        loaded = page.locator("#why img").evaluate_all("images => images.every(image => image.naturalWidth > 0)")
        assert loaded
        assert page.locator("#why .strip .asked").count() == 1


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1280, True), (1920, False)])
def test_it_fits_the_window(visit, served, width, dark):
    with visit(served, width=width, dark=dark) as page:
        page.wait_for_selector("#answers .card")
        for tab in ("Why", "Compare", "Map", "Answers"):
            page.get_by_role("tab", name=tab).click()
            page.wait_for_timeout(300)
            assert overflow(page) == 0, tab


@pytest.mark.slow
def test_every_relation_can_be_asked(visit, served, explorer):
    with visit(f"{served}/?entity=e01&relation=r0&asks=head") as page:
        page.wait_for_selector("#answers .card")
        assert page.inner_text("#chosen .sentence").startswith("?")
        for label in explorer.dataset.relations.labels[1:]:
            page.click("#relation input")
            page.get_by_role("option", name=label).click()
            wait_for(page, "#chosen", label)
