"""What a visitor can do, without a page."""

from dataclasses import replace

import numpy as np
import pytest

from mmrns.cli import main
from mmrns.errors import UserError
from mmrns.explorer.results import Question
from mmrns.explorer.session import Explorer, UnknownNameError
from tests.explorer.conftest import MARKUP, PICTURES
from tests.tiny import RELATIONS, train_command, write_tiny_graph


@pytest.mark.parametrize(("typed", "expected"), [("e07", 7), ("Thing 7", 7), ("  thing   7 ", 7), (MARKUP, 3)])
def test_a_name_is_an_id_or_a_label(explorer, typed, expected):
    assert explorer.find(typed) == expected


def test_a_name_that_is_not_there_comes_with_the_nearest(explorer):
    with pytest.raises(UnknownNameError, match="“Thinng 12” is not in pictured") as caught:
        explorer.find("Thinng 12")
    assert 12 in caught.value.near and len(caught.value.near) <= 5
    with pytest.raises(UnknownNameError, match="nothing is spelled like it") as caught:
        explorer.find("qqqqqqqqqqqq")
    assert caught.value.near == []
    with pytest.raises(UnknownNameError) as caught:
        explorer.find("   ")
    assert caught.value.near == []


def test_a_shared_name_asks_which_one(explorer):
    with pytest.raises(UnknownNameError, match="2 entities are called “the twin”; which one") as caught:
        explorer.find("the twin")
    assert caught.value.near == [58, 59]


@pytest.mark.parametrize(
    "arguments", [("tail", 60, 0), ("tail", -1, 0), ("tail", 0, 4), ("tail", 0, -1), ("both", 0, 0)]
)
def test_rows_that_do_not_exist_are_refused(explorer, arguments):
    with pytest.raises(UserError):
        explorer.question(*arguments)
    with pytest.raises(UserError):
        explorer.explain(Question("tail", 0, 0), 60)
    with pytest.raises(UserError):
        explorer.explain(Question("tail", 0, 0), 1, run=2)
    with pytest.raises(UserError):
        explorer.map("pca", -1)


def test_a_relation_that_makes_no_sense_gives_way_to_one_that_does(explorer):
    opened = explorer.runs[0]
    types = {row: opened.entity(row).type for row in range(60)}
    for asks, column in (("tail", 0), ("head", 2)):
        for given in range(0, 60, 7):
            train = explorer.dataset.train
            of_type = [types[row] == types[given] for row in train[:, column]]
            fitting = set(train[of_type, 1].tolist())
            assert set(opened.relations(asks, given)) == fitting
            facts = np.bincount(train[train[:, column] == given, 1], minlength=RELATIONS)
            order = facts[opened.relations(asks, given)].tolist()
            assert order == sorted(order, reverse=True)
            for relation in range(RELATIONS):
                found = explorer.question(asks, given, relation).relation
                assert found == (relation if relation in fitting else opened.relations(asks, given)[0])


def test_a_relation_unknown_to_a_type_is_replaced(explorer, monkeypatch):
    monkeypatch.setattr(type(explorer.runs[0]), "relations", lambda *_: [2, 1])
    assert explorer.question("tail", 0, 3) == Question("tail", 0, 2)
    assert explorer.question("tail", 0, 1) == Question("tail", 0, 1)
    monkeypatch.setattr(type(explorer.runs[0]), "relations", lambda *_: [])
    assert explorer.question("tail", 0, 3) == Question("tail", 0, 3)


def test_the_first_question_shows_a_held_out_answer(explorer):
    question = explorer.first_question
    assert any(answer.known in ("valid", "test") for answer in explorer.ask(question)[0].answers)
    assert explorer.picture(question.given)


def test_a_picture_outside_of_the_dataset_is_not_shown(explorer):
    shown = [row for row in range(60) if explorer.picture(row) is not None]
    assert shown == [row for row in range(PICTURES) if row != 4]
    assert all(explorer.picture(row).startswith("data:image/webp;base64,") for row in shown)


def test_the_first_readable_picture_is_taken(explorer, monkeypatch):
    files = [str(explorer.dataset.folder / "images" / name) for name in ("none.png", "2.png", "1.png")]
    shown = replace(explorer.entity(2), pictures=files)
    expected = explorer.picture(2)
    monkeypatch.setattr(explorer, "entity", lambda row: shown)
    assert explorer.picture(40) == expected


def test_two_runs_are_compared_on_every_known_answer(explorer):
    for question in (Question("tail", 5, 1), Question("head", 9, 0)):
        answers = explorer.ask(question)
        found = explorer.compare(question, answers)
        known = explorer.runs[0].known(question)
        assert {a.entity.id: a.split for a in found.answers} == {
            explorer.dataset.entities.ids[row]: split for row, split in known.items()
        }
        order = [("train", "valid", "test").index(a.split) for a in found.answers]
        assert order == sorted(order, reverse=True)
        for compared in found.answers:
            row = explorer.dataset.entities.row[compared.entity.id]
            assert compared.ranks == [run.ranks(question, [row])[0] for run in explorer.runs]
        tops = [{a.row for a in part.answers} for part in answers]
        assert (found.shared, found.of) == (len(tops[0] & tops[1]), 12)
        assert found.metrics["mrr"] == [run.metrics()["mrr"] for run in explorer.runs]
    assert explorer.runs[0].metrics()["mrr"] != explorer.runs[1].metrics()["mrr"]


def test_one_run_has_nothing_to_compare_with(runs):
    alone = Explorer(runs[0])
    question = alone.first_question
    assert alone.compare(question, alone.ask(question)) is None


def test_a_run_that_has_not_ended_has_no_metrics(runs, tmp_path):
    alone = Explorer(runs[0])
    (tmp_path / "elsewhere").mkdir()
    alone.runs[0].explainer.trained.run.metrics_file = tmp_path / "elsewhere/metrics.json"
    assert alone.runs[0].metrics() == {}


def test_runs_on_different_graphs_are_not_compared(runs, tmp_path, capsys):
    other = write_tiny_graph(tmp_path / "other")
    for split in ("train", "valid", "test"):
        path = other / f"{split}.txt"
        path.write_text(path.read_text().replace("e30", "zzz"))
    assert main(train_command(other, tmp_path / "other-run", steps=2)) == 0
    with pytest.raises(
        UserError, match=r"^--compare .*other-run: has other entities than mmrns; give runs of one dataset"
    ):
        Explorer(runs[0], tmp_path / "other-run")


def test_runs_with_other_slices_held_out_are_not_compared(runs, pictured_graph, tmp_path):
    held_out = {"validation": "held-out", "held_out": 0.1}
    for name, options in (("one", held_out), ("other", held_out | {"held_out_seed": 1})):
        assert main(train_command(pictured_graph, tmp_path / name, steps=2, **options)) == 0
    with pytest.raises(UserError, match=r"^--compare .*one: has validation held-out, mmrns published: what one was"):
        Explorer(runs[0], tmp_path / "one")
    with pytest.raises(UserError, match=r"^--compare .*other: has held_out_seed 1, one 0: what one was judged on"):
        Explorer(tmp_path / "one", tmp_path / "other")


def test_two_runs_of_one_name_are_told_apart(runs, tmp_path):
    (tmp_path / "mmrns").symlink_to(runs[1])
    twice = Explorer(runs[0], tmp_path / ".." / tmp_path.name / "mmrns")
    assert twice.runs[0].name != twice.runs[1].name or runs[1].name == "uniform"
    again = Explorer(runs[0], runs[0])
    assert again.runs[0].name == "mmrns" and again.runs[1].name == str(runs[0])
