"""Results as HTML. Templates escape whatever comes from a graph, so that a label is text and never markup."""

from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mmrns.explanation import Attention, Shown
from mmrns.explorer.results import Answers, Comparison, Question, Why
from mmrns.explorer.session import Explorer

PAGE = Path(__file__).parent / "page"
_MARKS = {
    "new": ("new", "neither train, valid nor test lists it"),
    "itself": ("itself", "the entity that was asked about"),
    "train": ("known", "train lists it: the run has learned it"),
    "valid": ("held out: valid", "valid lists it: true, and never trained on"),
    "test": ("held out: test", "test lists it: true, and never trained on"),
}


class Renderer:
    """Turns results into HTML with the pictures of one graph."""

    def __init__(self, explorer: Explorer) -> None:
        self._explorer = explorer

    @cached_property
    def _templates(self) -> Environment:
        templates = Environment(
            loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
            lstrip_blocks=True,
        )  # fmt: skip
        templates.globals |= {"picture": self._picture, "marks": _MARKS, "row_of": self._row_of}
        templates.filters |= {"percent": _percent, "rank": _rank, "sentences": _sentences}
        return templates

    def header(self) -> str:
        """Which runs are open."""
        return self._fill("header.html", runs=self._explorer.runs, dataset=self._explorer.dataset)

    def chosen(self, question: Question) -> str:
        """The question as a sentence, with the entity's picture and texts."""
        relation = self._explorer.dataset.relations.labels[question.relation]
        return self._fill("chosen.html", q=question, given=self._explorer.entity(question.given), relation=relation)

    def answers(self, answers: list[Answers]) -> str:
        """Cards, a column a run."""
        return self._fill("answers.html", runs=answers)

    def why(self, why: Why) -> str:
        """An explanation."""
        (side,) = why.explanation.sides
        attention = {attended.modality: attended for attended in side.attention}
        return self._fill("why.html", why=why, e=why.explanation, side=side, attention=attention)

    def comparison(self, comparison: Comparison) -> str:
        """Two runs on one question."""
        return self._fill("compare.html", c=comparison)

    def message(self, text: str, near: list[int]) -> str:
        """Something that could not be done, and what may have been meant."""
        shown = [(row, self._explorer.entity(row)) for row in near]
        return self._fill("message.html", text=text, near=shown)

    def _fill(self, name: str, **values: Any) -> str:
        return self._templates.get_template(name).render(values)

    def _picture(self, entity: Shown) -> str | None:
        return self._explorer.picture(self._row_of(entity))

    def _row_of(self, entity: Shown) -> int:
        return self._explorer.dataset.entities.row[entity.id]


def _percent(value: float) -> str:
    """A share as people read it: two digits, and never 0 % or 100 % for what is only near."""
    if value < 0.001:
        return "< 0.1 %"
    if 0.999 < value < 1:
        return "> 99.9 %"
    return f"{100 * value:.1f} %" if value < 0.1 or 0.99 < value < 1 else f"{100 * value:.0f} %"


def _rank(value: float) -> str:
    return f"{value:g}"


def _sentences(attended: Attention, entity: Shown) -> list[tuple[str, float, float]]:
    """Text, share without and share with the relation, of the sentences that an entity has."""
    if not attended.weight_free:
        return []
    return [
        (
            entity.texts[number] if number < len(entity.texts) else f"sentence {number + 1}",
            attended.weight_free[number],
            attended.weight_guided[number],
        )
        for number, there in enumerate(attended.present)
        if there
    ]
