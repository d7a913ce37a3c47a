"""What the documentation says is so: generated parts are fresh, names exist, links lead somewhere, examples run."""

import ast
import importlib.util
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
import torch

from mmrns.cli import build_parser, main
from mmrns.negatives.exploration import exploration_temperature
from mmrns.plugins import first_line
from mmrns.scoring import build_model
from tests.tiny import write_tiny_graph

ROOT = Path(__file__).resolve().parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*DOCS, *(path for path in [ROOT / "README.md"] if path.is_file())]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_NAMED = re.compile(r"`((?:mmrns|tests|scripts|configs|docs)/[\w./-]+)(?:::([\w.]+))?`")
# Added to every `mmrns train` of a page; the last of two equal flags wins.
_SHORT = (
    "--steps 2 --dim 4 --num-negatives 3 --pool-size 20 --batch-size 16 --attention-width 4 --device cpu --threads 1"
)


def build_docs():
    """scripts/build_docs.py, which is not in a package."""
    spec = importlib.util.spec_from_file_location("build_docs", ROOT / "scripts" / "build_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def builder():
    return build_docs()


def blocks(page, language):
    return [body for kind, body in _BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]


def commands(page):
    """Every `mmrns …` line of a page's shell blocks, as arguments."""
    text = "".join(blocks(page, "sh") + blocks(page, "bash") + blocks(page, "")).replace("\\\n", " ")
    lines = [line.split(" #")[0].strip().removeprefix(".venv/bin/") for line in text.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("mmrns ")]


@every_page
def test_generated_parts_are_up_to_date(page, builder):
    text = page.read_text(encoding="utf-8")
    assert builder.filled(text) == text, f"{page.name} is out of date; run: make docs"


def test_every_option_and_choice_has_its_row(builder):
    text = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    missing = [flag for flag in map(builder.flag, builder.Config.model_fields) if f"| `{flag}` |" not in text]
    assert missing == []
    assert set(re.findall(r"<!-- begin (\w+) -->", text)) == set(builder.PARTS) - {
        "layers",
        "demo",
        "measures",
        "benchmarks",
    }


def test_a_page_without_markers_is_left_alone_and_filling_is_repeatable(builder):
    assert builder.filled("text <!-- begin nothing\n") == "text <!-- begin nothing\n"
    page = "a\n<!-- begin models -->\nold\n<!-- end models -->\nb\n"
    once = builder.filled(page)
    assert "old" not in once and "`rotate`" in once and once.endswith("<!-- end models -->\nb\n")
    assert builder.filled(once) == once


def _holds(tree, names):
    """Whether a module defines the dotted name."""
    for name in names:
        found = [node for node in tree.body if getattr(node, "name", None) == name]
        if not found:
            return False
        tree = found[0]
    return True


@every_page
def test_named_files_and_functions_exist(page):
    wrong = []
    for path, name in _NAMED.findall(page.read_text(encoding="utf-8")):
        file = ROOT / path
        if not file.exists():
            wrong.append(path)
        elif name and not _holds(ast.parse(file.read_text(encoding="utf-8")), name.split(".")):
            wrong.append(f"{path}::{name}")
    assert wrong == []


def test_a_class_without_a_docstring_has_an_empty_description():
    assert first_line(type("Bare", (), {})) == ""
    assert first_line(type("Said", (), {"__doc__": "\n    One line.\n\n    More."})) == "One line."


def test_every_equation_names_a_function_and_a_test():
    text = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.partition("## 11.")[2].splitlines() if line.startswith("| ")]
    assert len(rows) > 30
    for _, function, test in rows[2:]:
        assert re.fullmatch(r"`mmrns/\S+\.py::\S+`", function), function
        assert re.fullmatch(r"`tests/\S+\.py::test_\w+`", test), test


@every_page
def test_relative_links_lead_somewhere(page):
    dead = []
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in _anchors(file)):
            dead.append(target)
    assert dead == []


def _anchors(file):
    """Anchors as GitHub makes them from headings."""
    headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_commands_take_the_flags_they_are_shown_with(page):
    for arguments in commands(page):
        build_parser().parse_args(arguments)


def test_the_table_of_exploration_is_arithmetic():
    text = (ROOT / "docs" / "method.md").read_text(encoding="utf-8").partition("## 10.")[2].partition("## 11.")[0]
    rows = re.findall(r"^\| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) % \| ([\d.]+) \|$", text, re.MULTILINE)
    assert len(rows) == 5
    pool = 1500
    for step, *written in rows:
        epsilon = exploration_temperature(10.0, int(step))
        ends = torch.full((pool,), -1.0, dtype=torch.float64)
        ends[0] = 1.0  # one candidate as like as can be, all others as unlike
        largest = float(torch.softmax(ends / epsilon, 0)[0])
        bound = float(torch.tensor(2 / epsilon, dtype=torch.float64).exp())
        least = 1 - 1 / (2 * epsilon**2) / float(torch.tensor(pool, dtype=torch.float64).log())
        expected = [f"{epsilon:.3f}", f"{bound:.2f}", f"{100 * largest:.3f}", f"{least:.4f}"]
        assert written == expected
        # The bound on the entropy holds for the extreme cosines: any share of them at +1, the rest at -1.
        for likes in range(1, pool, 7):
            cosines = torch.where(torch.arange(pool) < likes, 1.0, -1.0).double()
            p = torch.softmax(cosines / epsilon, 0)
            assert float(torch.special.entr(p).sum()) / float(torch.tensor(float(pool)).log()) >= least - 1e-9


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty folder with a small graph in data/my-graph; modules imported from it are forgotten afterwards."""
    write_tiny_graph(tmp_path / "data" / "my-graph")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MMRNS_DATA", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(tmp_path)):
            del sys.modules[name]


def test_extending_runs_from_top_to_bottom(workplace, capsys):
    page = ROOT / "docs" / "extending.md"
    ran = []
    for kind, body in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "python":
            name = re.match(r"# (\w+\.py)\n", body)[1]
            (workplace / name).write_text(body, encoding="utf-8")
            runpy.run_path(name)
            ran.append(name)
        elif kind == "sh":
            for arguments in (shlex.split(line)[1:] for line in body.splitlines()):
                # extract needs pictures and weights (tests/features), predict the names of the page's own graph.
                if arguments[0] in ("check", "train"):
                    short = shlex.split(_SHORT) if arguments[0] == "train" else []
                    assert main([*arguments, *short]) == 0, capsys.readouterr().err
                    ran.append(arguments[0])
    assert ran == [
        "check", "train", "own_features.py", "transh.py", "train", "in_batch.py", "train", "gated.py", "train",
    ]  # fmt: skip
    assert (workplace / "runs" / "transh" / "metrics.json").is_file()

    model = build_model("transh:TransH", 7, 3, 4, 6.0, {"p": 2}).double()
    anchor, relation = torch.tensor([0, 5]), torch.tensor([2, 1])
    for direction in (0, 1):
        everyone = model.entities.everything()
        ends = (everyone, model.entities(anchor)[:, None])
        head, tail = ends if direction == 0 else ends[::-1]
        expected = model.scoring.score(head, model.relations(relation)[:, None], tail)
        torch.testing.assert_close(model.score_all(anchor, relation, direction), expected)
