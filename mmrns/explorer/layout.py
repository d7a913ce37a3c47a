"""The page in Gradio: which parts there are, and what happens when one is touched. What is computed is elsewhere."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from mmrns.errors import UserError
from mmrns.explanation.explainer import Asks
from mmrns.explorer.maps import Method
from mmrns.explorer.render import PAGE, Renderer
from mmrns.explorer.results import EmbeddingMap, Question
from mmrns.explorer.session import Explorer, UnknownNameError

_ASKS = [("its tails:  entity → ?", "tail"), ("its heads:  ? → entity", "head")]
_METHODS = [("t-SNE", "tsne"), ("principal components", "pca")]
_SYSTEM_FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"]
_MONOSPACE_FONTS = ["ui-monospace", "Menlo", "Consolas", "monospace"]
# Kinds of points that the map tells apart by colour; the last colour is for all others.
_COLOURS = 9
_LONGEST_NAME = 200
# Handlers answer at once, so none needs a queue; and none is an interface for programs.
_AT_ONCE: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


@dataclass
class View:
    """What one visitor looks at."""

    question: Question
    answer: int
    run: int = 0
    unlisted: bool = False


def theme() -> gr.themes.Base:
    """Fonts of the system alone, so that nothing is fetched."""
    return gr.themes.Base(
        primary_hue="blue", neutral_hue="slate", font=_SYSTEM_FONTS, font_mono=_MONOSPACE_FONTS, radius_size="md"
    )


def stylesheet() -> str:
    """The page's own CSS."""
    return (PAGE / "page.css").read_text(encoding="utf-8")


def asked_by_scripts(explorer: Explorer) -> list[Callable[..., Any]]:
    """What the scripts ask for while somebody types or points; a script calls each by its name."""

    def picture(row: int) -> str | None:
        return explorer.picture(int(row))

    def suggest(typed: str) -> list[dict[str, Any]]:
        rows = explorer.search(str(typed)[:_LONGEST_NAME])
        shown = [(row, explorer.entity(row)) for row in rows]
        return [
            {"row": row, "label": entity.label, "id": entity.id, "type": entity.type, "picture": picture(row)}
            for row, entity in shown
        ]

    def ready(_: Any = None) -> bool:  # a call without an argument arrives with one
        return explorer.ready

    return [picture, suggest, ready]


class Layout:
    """Builds the page of an Explorer."""

    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer
        self.renderer = Renderer(explorer)
        self._first = explorer.first_question

    def build(self) -> gr.Blocks:
        """The page, ready to be served."""
        explorer = self.explorer
        several = len(explorer.runs) > 1
        runs = [(opened.name, number) for number, opened in enumerate(explorer.runs)]
        with gr.Blocks(title=f"{explorer.dataset.name} – mmrns", analytics_enabled=False) as blocks:
            self._view = gr.State(None)
            gr.HTML(self.renderer.header(), elem_id="header", apply_default_css=False)
            with gr.Row(elem_id="body"):
                with gr.Column(scale=1, min_width=300, elem_id="ask"):
                    self._search = self._active("search.html", "search.js", "search")
                    self._message = self._active(None, "cards.js", "message")
                    self._asks = gr.Radio(_ASKS, value="tail", label="Ask for", elem_id="asks")
                    self._relation = gr.Dropdown([], label="Relation", elem_id="relation", filterable=True)
                    self._unlisted = gr.Checkbox(label="leave out what train lists", elem_id="unlisted")
                    self._chosen = gr.HTML(elem_id="chosen", apply_default_css=False)
                with gr.Column(scale=3, min_width=320, elem_id="shown"), gr.Tabs(selected="answers") as self._tabs:
                    with gr.Tab("Answers", id="answers"):
                        self._answers = self._active(None, "cards.js", "answers")
                    with gr.Tab("Why", id="why"):
                        self._run = gr.Radio(runs, value=0, label="Explained by", visible=several, elem_id="run")
                        self._why = self._active(None, "cards.js", "why")
                    with gr.Tab("Compare", id="compare", visible=several):
                        self._compare = gr.HTML(elem_id="compare", apply_default_css=False)
                    with gr.Tab("Map", id="map") as map_tab:
                        with gr.Row():
                            method = gr.Radio(_METHODS, value="tsne", label="Entity vectors by", elem_id="method")
                            map_run = gr.Radio(runs, value=0, label="Of", visible=several, elem_id="map-run")
                        self._map = self._active("map.html", "map.js", "map")
            self._wire(blocks, map_tab, method, map_run)
        return blocks

    def _active(self, template: str | None, script: str, name: str) -> gr.HTML:
        """A part of the page with a script of its own."""
        html = (PAGE / template).read_text(encoding="utf-8") if template else "${value}"
        return gr.HTML(
            value="",
            apply_default_css=False,
            html_template=html,
            js_on_load=(PAGE / script).read_text(encoding="utf-8"),
            server_functions=asked_by_scripts(self.explorer),
            elem_id=name,
        )

    def _wire(self, blocks: gr.Blocks, map_tab: gr.Tab, method: gr.Radio, map_run: gr.Radio) -> None:
        asked = [
            self._view, self._message, self._asks, self._relation, self._unlisted, self._chosen, self._answers,
            self._compare, self._tabs,
        ]  # fmt: skip
        explained = [self._view, self._message, self._why, self._run, self._tabs]
        view, mapped = self._view, ([self._view, method, map_run], self._map)

        def then_explain(event: Any) -> None:
            event.then(self._explain_first, [view], [self._why, self._run], **_AT_ONCE)

        then_explain(blocks.load(self._arrive, None, asked, **_AT_ONCE))
        for part in (self._search, self._message, self._map):
            then_explain(part.choose(self._choose_entity, [view], asked, **_AT_ONCE))
        then_explain(self._search.submit(self._submit, [view], asked, **_AT_ONCE))
        then_explain(self._asks.input(self._choose_asks, [view, self._asks], asked, **_AT_ONCE))
        then_explain(self._relation.input(self._choose_relation, [view, self._relation], asked, **_AT_ONCE))
        then_explain(self._unlisted.input(self._choose_unlisted, [view, self._unlisted], asked, **_AT_ONCE))
        self._answers.choose(self._choose_answer, [view], explained, **_AT_ONCE)
        self._why.choose(self._choose_answer, [view], explained, **_AT_ONCE)
        self._run.input(self._choose_run, [view, self._run], explained, **_AT_ONCE)
        map_tab.select(self._show_map, *mapped, **_AT_ONCE)
        method.input(self._show_map, *mapped, **_AT_ONCE)
        map_run.input(self._show_map, *mapped, **_AT_ONCE)
        self._map.refresh(self._show_map, *mapped, **_AT_ONCE)

    # Handlers: from what was touched to the parts that change.

    def _arrive(self, request: gr.Request) -> list[Any]:
        """The first question, or that of the address: ?entity=…&relation=…&asks=head&unlisted=1."""
        parameters = request.query_params
        first = self._first
        try:
            asks = parameters.get("asks", first.asks)
            given, relation = first.given, first.relation
            if "entity" in parameters:
                given = self.explorer.find(parameters["entity"])
            if "relation" in parameters:
                relation = self.explorer.dataset.relations.find(parameters["relation"], "relation")
            return self._asked(self.explorer.question(asks, given, relation), parameters.get("unlisted") == "1")
        except UserError as error:
            return self._asked(first, message=self._said(error))

    # A view is None where the server was started anew behind an open page.

    def _choose_entity(self, view: View | None, event: gr.EventData) -> list[Any]:
        return self._changed(view, given=int(event.row))

    def _submit(self, view: View | None, event: gr.EventData) -> list[Any]:
        try:
            return self._changed(view, given=self.explorer.find(str(event.text)[:_LONGEST_NAME]))
        except UserError as error:
            return self._refused(error)

    def _choose_asks(self, view: View | None, asks: Asks) -> list[Any]:
        return self._changed(view, asks=asks)

    def _choose_relation(self, view: View | None, relation: int | None) -> list[Any]:
        """Any relation may be asked; only a change of entity or side looks for one that makes sense."""
        if relation is None or not 0 <= int(relation) < len(self.explorer.dataset.relations):
            return self._refused(UserError("choose one of the relations in the list"))
        old = view.question if view else self._first
        return self._asked(Question(old.asks, old.given, int(relation)), _unlisted(view))

    def _choose_unlisted(self, view: View | None, unlisted: bool) -> list[Any]:
        return self._asked(view.question if view else self._first, bool(unlisted))

    def _choose_answer(self, view: View | None, event: gr.EventData) -> list[Any]:
        view = view or View(self._first, 0)
        return self._explained(replace(view, answer=int(event.row), run=int(getattr(event, "run", view.run))))

    def _choose_run(self, view: View | None, run: int) -> list[Any]:
        view = view or View(self._first, self._first.given)
        return self._explained(replace(view, run=int(run)))

    def _changed(self, view: View | None, asks: Asks | None = None, given: int | None = None) -> list[Any]:
        old = view.question if view else self._first
        try:
            question = self.explorer.question(asks or old.asks, old.given if given is None else given, old.relation)
        except UserError as error:
            return self._refused(error)
        return self._asked(question, _unlisted(view))

    def _asked(self, question: Question, unlisted: bool = False, message: str = "") -> list[Any]:
        """Everything that a question changes."""
        explorer = self.explorer
        answers = explorer.ask(question, unlisted)
        comparison = explorer.compare(question, answers)
        first = next(iter(answers[0].answers), None)
        labels = explorer.dataset.relations.labels
        fitting = explorer.runs[0].relations(question.asks, question.given)
        others = sorted(set(range(len(labels))) - set(fitting), key=lambda row: labels[row].casefold())
        choices = [(labels[row], row) for row in fitting] + [(f"{labels[row]} (unlikely)", row) for row in others]
        return [
            View(question, first.row if first else question.given, unlisted=unlisted),
            message,
            question.asks,
            gr.Dropdown(choices, value=question.relation),
            unlisted,
            self.renderer.chosen(question),
            self.renderer.answers(answers),
            self.renderer.comparison(comparison) if comparison else "",
            gr.Tabs(selected="answers"),
        ]

    def _explain_first(self, view: View | None) -> list[Any]:
        if view is None:
            return [gr.skip(), gr.skip()]
        return self._explained(view)[2:4]

    def _explained(self, view: View) -> list[Any]:
        try:
            why = self.explorer.explain(view.question, view.answer, view.run)
        except UserError as error:
            return self._refused(error, 5)
        return [view, "", self.renderer.why(why), view.run, gr.Tabs(selected="why")]

    def _refused(self, error: UserError, outputs: int = 9) -> list[Any]:
        """A message, and all else as it was."""
        return [gr.skip(), self._said(error), *[gr.skip()] * (outputs - 2)]

    def _said(self, error: UserError) -> str:
        return self.renderer.message(str(error), error.near if isinstance(error, UnknownNameError) else [])

    def _show_map(self, view: View | None, method: Method, run: int) -> str:
        found, ready = self.explorer.map(method, int(run))
        return self._drawn(found, ready, view)

    def _drawn(self, found: EmbeddingMap, ready: bool, view: View | None) -> str:
        """JSON that map.js draws."""
        dataset = self.explorer.dataset
        records = (dataset.records.get(dataset.entities.ids[row], {}) for row in found.rows)
        types = [str(record.get("type") or "entity") for record in records]
        frequent = [kind for kind, _ in sorted(Counter(types).items(), key=lambda item: (-item[1], item[0]))]
        kinds = frequent if len(frequent) <= _COLOURS else [*frequent[: _COLOURS - 1], "other"]
        answers = self.explorer.ask(view.question, view.unlisted)[0].answers if view else []
        values = {
            "key": f"{found.run} {found.method}",
            "rows": found.rows,
            "x": found.x,
            "y": found.y,
            "kind": [kinds.index(kind) if kind in kinds else len(kinds) - 1 for kind in types],
            "kinds": kinds,
            "labels": [dataset.entities.labels[row] for row in found.rows],
            "ready": ready,
            "given": view.question.given if view else -1,
            "answers": [answer.row for answer in answers],
        }
        return json.dumps(values, ensure_ascii=False)


def _unlisted(view: View | None) -> bool:
    return view is not None and view.unlisted
