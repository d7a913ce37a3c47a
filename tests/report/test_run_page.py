"""The page of a run as a browser shows it, and the numbers on it."""

import html
import itertools
import json
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from mmrns.cli import main
from mmrns.report.comparison import compare
from mmrns.report.comparison_page import comparison_page
from mmrns.report.finished_run import read_run
from mmrns.report.run_page import run_page
from mmrns.report.run_report import read_analysis, run_report
from mmrns.training.run_folder import RunFolder
from tests.browser import overflow
from tests.report.conftest import HOSTILE
from tests.tiny import train_command

TILES = {"MRR": "mrr", "Hits@1": "hits@1", "Hits@3": "hits@3", "Hits@10": "hits@10", "Mean rank": "mr", "AMRI": "amri"}


@pytest.fixture(scope="module")
def page_file(pictured_run):
    return (pictured_run / "report.html").as_uri().replace("<", "%3C").replace(">", "%3E")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_its_window_and_nothing_is_outside(visit, page_file, width, dark):
    with visit(page_file, width=width, dark=dark) as page:
        assert page.locator("h1").count() == 1
        for details in page.locator("details").all():
            details.evaluate("element => element.open = true")
        assert overflow(page) == 0
        # No part of the page scrolls sideways either.
        assert (
            page.evaluate("""() => [...document.querySelectorAll('main *')].filter(e =>
            e.scrollWidth > e.clientWidth + 1 && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX)).length""")
            == 0
        )
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        light = sum(map(int, re.findall(r"\d+", background)[:3])) > 384
        assert light != dark


# What a screen reader would stumble over: name -> the elements.
_BARRIERS = """() => {
    const all = (what, wrong) => [...document.querySelectorAll(what)].filter(wrong).map(e => e.outerHTML.slice(0, 200));
    const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
    return {
        'pictures without words': all('img', i => !i.alt.trim()),
        'pictures that do not show': all('img', i => !i.complete || !i.naturalWidth),
        'drawings without words': all('svg', s => s.getAttribute('role') != 'img' || !s.getAttribute('aria-label')),
        'drawings without numbers': all('.plot', p => !p.querySelector('table')),
        'tables without a caption': all('table', t => !t.caption || !t.caption.textContent.trim()),
        'headers of nothing': all('th', t => !t.scope),
        'links to nowhere': all('nav a', a => !document.querySelector(a.hash)),
        'parts of drawings that are missing': all('use', u => !ids.includes(u.getAttribute('href').slice(1))),
        'ids given twice': ids.filter((id, place) => ids.indexOf(id) != place),
    };
}"""


def check_reading(page):
    """Fail for whatever keeps a screen reader from a page."""
    barriers = page.evaluate(_BARRIERS)
    assert barriers == {name: [] for name in barriers}
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(e => Number(e.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert page.get_attribute("html", "lang") == "en"


def test_a_screen_reader_finds_its_way(visit, page_file):
    with visit(page_file) as page:
        assert page.locator("svg").count() > 5 and page.locator("img").count() > 20
        check_reading(page)


def test_numbers_are_those_of_metrics_json(visit, page_file, pictured_run):
    metrics = json.loads((pictured_run / "metrics.json").read_text())
    with visit(page_file) as page:
        for tile in page.locator(".tile").all():
            name = TILES[tile.locator("dt").inner_text()]
            shown = tile.locator(".value data")
            assert float(shown.get_attribute("value")) == metrics["test"]["both"][name]
            assert shown.inner_text() == f"{metrics['test']['both'][name]:.{1 if name == 'mr' else 4}f}"
        rows = page.locator("#results ~ .plots table.numbers tbody tr").all()
        assert len(rows) == 6
        for row in rows:
            split, part = row.locator("th").inner_text().split(", ")
            values = [float(cell.get_attribute("value")) for cell in row.locator("data").all()]
            assert values == [metrics[split][part][name] for name in ("mrr", "hits@1", "hits@3", "hits@10")]
        table = page.locator("figure", has_text="MRR of parts").locator("table")
        table.evaluate("element => element.parentElement.open = true")
        shown = {
            cells[0]: cells[1:]
            for row in table.locator("tbody tr").all()
            if (cells := row.locator("th, td").all_inner_texts())
        }
        names = {
            "Relation category: N-N": "N-N",
            "Entities in train: one unseen": "unseen",
            "The answer's picture: has none": "no-image",
        }
        for name, part in names.items():
            assert int(shown[name][0]) == metrics["test"][part]["count"]
            assert shown[name][1].startswith(f"{metrics['test'][part]['mrr']:.4f}")


def test_names_are_data(visit, page_file):
    with visit(page_file) as page:
        assert page.title().startswith("transe with mmrns negatives on <i>graph & co")
        assert (
            page.locator("main script, main i:not(.alike i), main style, main [onerror], main [onfocus]").count() == 0
        )
        text = page.locator("main").evaluate("element => element.textContent")
        for label in HOSTILE[:5]:
            assert label in text
        labels = page.evaluate("[...document.querySelectorAll('.card b')].map(e => e.textContent)")
        assert any("7 * 7" in label for label in labels) and not any("49" in label.split()[:1] for label in labels)


class _Links(HTMLParser):
    """Everything that a page may fetch."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "poster")]


def test_it_is_one_file_and_small(pictured_run):
    text = (pictured_run / "report.html").read_text(encoding="utf-8")
    assert len(text) < 1_000_000
    assert all(link.startswith(("#", "data:")) for link in _Links(text).found)
    assert "url(http" not in text and "@import" not in text


def test_the_sampler_is_shown_with_pictures_and_heat(visit, page_file):
    with visit(page_file) as page:
        assert page.locator(".question").count() == 4  # relations
        assert page.locator(".question .draws img").count() > 10
        assert page.locator(".heat img").count() == 5  # the picture, without a relation, under three
        assert page.locator(".verdict").count() == 2
        assert page.locator(".examples li").count() > 4


def test_json_is_what_the_page_shows(pictured_run):
    data = json.loads((pictured_run / "printed.json").read_text())
    metrics = json.loads((pictured_run / "metrics.json").read_text())
    assert data["metrics"] == metrics
    whole = data["parts"][0]
    assert whole["metrics"]["mrr"]["value"] == pytest.approx(metrics["test"]["both"]["mrr"], abs=1e-12)
    assert whole["metrics"]["mrr"]["low"] < whole["metrics"]["mrr"]["value"] < whole["metrics"]["mrr"]["high"]
    page = html.unescape((pictured_run / "report.html").read_text(encoding="utf-8"))
    assert data["hardness"]["verdict"] in page and data["relation_effect"]["verdict"].split(":")[0] in page


def test_a_run_without_negatives(visit, tiny_graph, tmp_path):
    options = {"objective": "1vsall", "steps": 4, "log_every": 2, "valid_every": 2}
    assert main(train_command(tiny_graph, tmp_path / "run", **options)) == 0
    assert main(["report", str(tmp_path / "run")]) == 0
    with visit((tmp_path / "run/report.html").as_uri(), width=390) as page:
        assert overflow(page) == 0
        said = page.inner_text("section[aria-labelledby=sampler]")
        assert "drew no negatives: 1vsall compares each answer with all entities" in said
        assert page.locator(".question").count() == 0


def test_a_run_with_uniform_negatives(other_seeds):
    report, pictured = run_report(other_seeds[0])
    assert report.hardness is None and report.relation_effect is None and report.negatives == []
    page = run_page(report, pictured, other_seeds[0])
    assert "The uniform sampler does not choose by likeness" in page and "False negatives" in page


def test_a_sample_that_was_ranked_is_named(tiny_graph, tmp_path):
    folder = tmp_path / "run"
    assert main(train_command(tiny_graph, folder, eval_queries=12, steps=2)) == 0
    said = "Ranked were 12 of the 30 triples of valid and 12 of the 30 triples of test, drawn at random with seed 0."
    report, pictured = run_report(folder)
    assert said in run_page(report, pictured, folder)
    assert said in comparison_page(compare([folder]), [folder])


def write_analysis(run, **changed):
    """What `mmrns analyze` leaves, in short: one picture, one outside of its folder, two measures."""
    folder = run / "analysis"
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (40, 30), "red").save(folder / "map.png")
    Image.new("RGB", (40, 30), "blue").save(run / "secret.png")
    measure = {"title": "Hubness", "value": 1.25, "random": 0.5, "concern": False, "reading": "even", "remedy": ""}
    worse = measure | {"title": "Dead <dimensions>", "concern": True, "reading": "many", "remedy": "train longer"}
    found = {
        "step": RunFolder(run).saved_step(),
        "pictures": [
            {"file": "map.png", "title": "A map", "alt": "Points in the plane"},
            {"file": "../secret.png", "title": "A secret", "alt": "no"},
        ],
        "spaces": [{"title": "entities", "measures": [measure, worse]}],
    }
    (folder / "analysis.json").write_text(json.dumps(found | changed))


def test_without_the_graph_the_run_s_own_files_still_make_a_page(visit, spoilt):
    config = spoilt / "config.yaml"
    config.write_text(re.sub("(?m)^dataset: .*$", "dataset: /nowhere/at-all", config.read_text()))
    write_analysis(spoilt)
    assert main(["report", str(spoilt)]) == 0
    with visit((spoilt / "report.html").as_uri(), width=390) as page:
        assert "no such dataset" in page.inner_text("section[aria-labelledby=making]")
        assert page.locator(".examples li").count() > 4 and page.locator(".question").count() == 0
        # Maps come from the analysis' folder, and from nowhere else.
        assert page.locator(".map img").count() == 1
        assert page.get_attribute(".map img", "alt") == "Points in the plane"
        for details in page.locator("details").all():
            details.evaluate("element => element.open = true")
        assert overflow(page) == 0
        first = page.locator("#maps ~ details tbody tr").first.inner_text()
        assert "Dead <dimensions>" in first and "train longer" in first


@pytest.mark.parametrize("changed", [{"step": 1}, {"pictures": None}, {"spaces": 3}])
def test_an_analysis_of_something_else_is_left_out(spoilt, changed):
    write_analysis(spoilt, **changed)
    run = read_run(spoilt)
    notes = []
    assert read_analysis(run, notes) is None and "analysis.json" in notes[0]
