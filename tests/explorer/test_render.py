"""Results become HTML in which whatever a graph says is text."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from mmrns.explorer.render import Renderer, _percent
from mmrns.explorer.results import Question
from tests.explorer.conftest import MARKUP

VOID = {"img", "br", "input"}


class Page(HTMLParser):
    """Elements with their attributes, and the text."""

    def __init__(self, html):
        super().__init__()
        self.open, self.elements, self.text = [], [], ""
        self.feed(html)
        assert self.open == [], "not closed"

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def renderer(explorer):
    return Renderer(explorer)


@pytest.fixture(scope="module")
def pages(renderer, explorer):
    """Every kind of page, all about the entity whose name is markup."""
    question = Question("tail", 3, 0)
    answers = explorer.ask(question)
    whole = [explorer.runs[0].ask(question, 60), explorer.runs[1].ask(question, 60)]
    comparison = explorer.compare(question, answers)
    return {
        "header": Page(renderer.header()),
        "chosen": Page(renderer.chosen(question)),
        "answers": Page(renderer.answers(whole)),
        "why": Page(renderer.why(explorer.explain(question, 1))),
        "why uniform": Page(renderer.why(explorer.explain(question, 1, 1))),
        "compare": Page(renderer.comparison(replace(comparison, given=explorer.entity(3)))),
        "message": Page(renderer.message(f"{MARKUP} is not there", [3, 5])),
    }


@pytest.mark.parametrize("name", ["chosen", "answers", "why", "message"])
def test_markup_in_a_name_is_text(pages, name):
    assert MARKUP in pages[name].text


def test_nothing_runs_and_nothing_is_fetched(pages):
    for name, page in pages.items():
        for tag, attributes in page.elements:
            assert tag not in ("script", "iframe", "object", "link", "style", "form"), name
            assert not [key for key in attributes if key.startswith("on")], name
            for key in ("src", "href"):
                assert attributes.get(key, "data:image/").startswith("data:image/"), name


def test_every_picture_has_an_alternative_text_and_every_card_a_row(pages):
    for page in pages.values():
        assert all("alt" in attributes for tag, attributes in page.elements if tag == "img")
        assert all(a["data-row"].isdigit() for tag, a in page.elements if tag == "button")


def test_answers_are_marked_in_words_and_by_class(pages, explorer):
    for number, opened in enumerate(explorer.runs):
        expected = [(str(a.row), a.mark) for a in opened.ask(Question("tail", 3, 0), 60).answers]
        cards = [a for tag, a in pages["answers"].elements if tag == "button" and a["data-run"] == str(number)]
        assert [(a["data-row"], a["class"].split()[1]) for a in cards] == expected
        said = {"train": "known", "valid": "held out: valid", "test": "held out: test"}
        for mark in {mark for _, mark in expected}:
            assert said.get(mark, mark) in pages["answers"].text


def test_a_number_is_the_results(renderer, explorer):
    question = Question("head", 5, 1)
    answers = explorer.ask(question)
    text = " ".join(Page(renderer.answers(answers)).text.split())
    for answer in answers[0].answers:
        assert f"score {answer.score:.2f}" in text
    why = explorer.explain(question, 7)
    text = " ".join(Page(renderer.why(why)).text.split())
    (side,) = why.explanation.sides
    assert f"ranks {side.rank:g} of {side.candidates}" in text
    for negative in side.sampling.negatives:
        assert f"{negative.times_uniform:.1f} × uniform" in text
        for value in negative.similarity.values():
            assert (f"{value:.2f}" if value is not None else "–") in text
    comparison = explorer.compare(question, answers)
    text = Page(renderer.comparison(comparison)).text
    assert all(f"{value:.4f}" in text for values in comparison.metrics.values() for value in values)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0004, "< 0.1 %"), (0.042, "4.2 %"), (0.42, "42 %"), (0.99, "99 %"), (0.9951, "99.5 %"), (0.9996, "> 99.9 %"),
        (1.0, "100 %"),
    ],
)  # fmt: skip
def test_a_share_near_none_or_all_is_not_shown_as_it(value, shown):
    assert _percent(value) == shown


def test_bars_stay_within_their_tracks(pages):
    for page in pages.values():
        for _, attributes in page.elements:
            for width in re.findall(r"width: ([-\d.e]+)%", attributes.get("style") or ""):
                assert 0 <= float(width) <= 100.01
