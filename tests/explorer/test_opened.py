"""A run's answers are those of predict, evaluate, explain and predict --all, and its marks those of the files."""

import numpy as np
import pandas as pd
import pytest
import torch

from mmrns.errors import UserError
from mmrns.evaluation import candidates
from mmrns.explanation import explain
from mmrns.explorer.opened import OpenRun
from mmrns.explorer.results import Question
from mmrns.graph.answers import TAIL
from mmrns.inference.calibration import calibration
from mmrns.inference.completion import Completion
from mmrns.inference.questions import loops_allowed
from tests.explorer.conftest import PICTURES
from tests.tiny import ENTITIES, RELATIONS

QUESTIONS = [
    Question(asks, given, relation) for asks in ("tail", "head") for given, relation in ((0, 0), (7, 2), (30, 3))
]


@pytest.fixture(scope="module")
def opened(explorer):
    return explorer.runs[0]


def known_by_reading(folder, question, names):
    found = {}
    given, relation = names.ids[question.given], f"r{question.relation}"
    for split in ("test", "valid", "train"):
        for line in (folder / f"{split}.txt").read_text().splitlines():
            head, r, tail = line.split("\t")
            anchor, answer = (head, tail) if question.asks == "tail" else (tail, head)
            if (anchor, r) == (given, relation):
                found[answer] = split
    return found


@pytest.mark.parametrize("question", QUESTIONS, ids=str)
def test_answers_are_those_of_predict_and_marked_as_the_files_say(opened, pictured_graph, question):
    found = opened.ask(question, ENTITIES)
    names = opened.dataset.entities
    end = {"head" if question.asks == "tail" else "tail": names.ids[question.given]}
    expected = opened.explainer.trained.predict(relation=f"r{question.relation}", k=ENTITIES, **end)
    assert [(a.place, a.entity.id, a.score) for a in found.answers] == [(p.rank, p.id, p.score) for p in expected]
    known = known_by_reading(pictured_graph, question, names)
    assert {a.entity.id: a.known for a in found.answers if a.known} == known
    assert found.known == {split: list(known.values()).count(split) for split in ("train", "valid", "test")}
    assert [a.row for a in found.answers] == [names.row[a.entity.id] for a in found.answers]
    for answer in found.answers:
        itself = answer.row == question.given and not bool(loops_allowed(opened.dataset)[question.relation])
        assert answer.mark == (known.get(answer.entity.id) or ("itself" if itself else "new"))


@pytest.mark.parametrize("k", [1, 5, ENTITIES])
def test_what_train_lists_can_be_left_out_and_places_stay(opened, k):
    for question in QUESTIONS:
        everything = opened.ask(question, ENTITIES)
        expected = [answer for answer in everything.answers if answer.mark != "train"][:k]
        found = opened.ask(question, k, unlisted=True)
        assert found.answers == expected
        assert found.known == everything.known


def test_a_new_fact_has_the_probability_that_predict_all_gives_it(opened):
    dataset = opened.dataset
    completion = Completion(opened.explainer.trained, dataset, k=ENTITIES)
    checked = 0
    for block in list(completion.blocks())[::3]:
        for fact in completion.facts(block)[::197].itertuples():
            asks = "tail" if fact.direction == 1 else "head"
            given, answer = (fact.head, fact.tail) if asks == "tail" else (fact.tail, fact.head)
            answers = opened.ask(Question(asks, int(given), int(fact.relation)), ENTITIES).answers
            shown = next(a for a in answers if a.row == answer)
            assert shown.mark == "new"
            assert shown.probability == pytest.approx(fact.probability, rel=1e-6)
            checked += 1
    assert checked > 10


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_held_out_fact_has_the_probability_that_it_would_have_if_its_split_were_not_known(opened, split):
    calibrator = calibration(opened.explainer.trained, opened.dataset).calibrator
    others = opened.dataset.answers(*({"train", "valid", "test"} - {split}))
    for head, relation, tail in opened.dataset.split(split)[:12].tolist():
        asked = candidates.Question(TAIL, relation, np.array([head]))
        loops = bool(loops_allowed(opened.dataset)[relation])
        (part,) = candidates.propose(
            opened.explainer.trained.model, asked, [others], ENTITIES, calibrator.temperature, loops
        )
        (place,) = np.flatnonzero(part.tail == tail)
        expected = calibrator.probability(calibrator.log_odds(part))[place]
        answers = opened.ask(Question("tail", head, relation), ENTITIES).answers
        shown = next(answer for answer in answers if answer.row == tail)
        assert (shown.mark, shown.probability) == (split, pytest.approx(expected, rel=1e-6))


def test_only_what_train_does_not_list_has_a_probability(opened):
    seen = set()
    for given in range(0, ENTITIES, 5):
        for relation in range(RELATIONS):
            answers = opened.ask(Question("tail", given, relation), ENTITIES).answers
            seen |= {answer.mark for answer in answers}
            for answer in answers:
                assert (answer.probability is None) == (answer.mark in ("train", "itself"))
                assert answer.probability is None or 0 <= answer.probability <= 1
    assert seen == {"new", "train", "valid", "test", "itself"}


def test_ranks_are_those_of_the_evaluation(opened, trained_runs):
    table = pd.read_parquet(trained_runs[0] / "ranks.parquet")
    row_of = opened.dataset.entities.row
    for line in table.iloc[::5].itertuples():
        given, answer = (line.head, line.tail) if line.direction == "tail" else (line.tail, line.head)
        question = Question(line.direction, row_of[given], opened.dataset.relations.row[line.relation])
        assert opened.ranks(question, [row_of[answer]]) == [line.rank]
    assert opened.ranks(QUESTIONS[0], []) == []


def test_an_explanation_is_that_of_mmrns_explain(opened, trained_runs):
    for question, ends in ((Question("tail", 2, 1), ("e02", "e05")), (Question("head", 2, 1), ("e05", "e02"))):
        found = opened.explain(question, 5, top=7).explanation
        expected = explain(opened.explainer, ends[0], "r1", ends[1], sides=(question.asks,), top=7)
        assert found == expected


def test_heat_lies_on_pictures_and_differs_by_relation(opened):
    question = Question("tail", 1, 0)
    for answer in range(PICTURES + 2):
        why = opened.explain(question, answer)
        pictured = answer < PICTURES and answer != 4  # e04's picture lies outside of the dataset
        assert len(why.heat) == int(pictured)
        assert bool(why.relations) == pictured
        if not pictured:
            continue
        assert len({why.heat[0].picture, why.heat[0].free, why.heat[0].guided}) == 3
        assert [heat.asked for heat in why.relations] == [True, *[False] * (len(why.relations) - 1)]
        train = opened.dataset.train
        of_entity = train[(train[:, 0] == answer) | (train[:, 2] == answer)]
        counts = np.bincount(of_entity[:, 1], minlength=RELATIONS)
        others = [r for r in np.argsort(-counts, kind="stable") if counts[r] and r != question.relation]
        labels = opened.dataset.relations.labels
        assert [h.relation for h in why.relations] == [labels[question.relation], *(labels[r] for r in others)]
        assert len({heat.guided for heat in why.relations}) > 1


def test_a_uniform_run_answers_and_says_that_it_has_no_sampler_to_explain(explorer):
    why = explorer.runs[1].explain(Question("tail", 1, 0), 5)
    assert "no sampler to explain" in why.explanation.notes[0]
    assert (why.heat, why.relations, why.explanation.sides[0].sampling) == ([], [], None)


def test_before_calibration_there_are_no_probabilities_and_a_note_says_so(trained_runs, pictured_graph):
    fresh = OpenRun(trained_runs[0])
    found = fresh.ask(Question("tail", 0, 0))
    assert all(answer.probability is None for answer in found.answers)
    assert any("still being fitted" in note for note in found.notes)
    assert not (trained_runs[0] / "calibration.json").exists()


def test_a_run_that_cannot_be_calibrated_answers_all_the_same(trained_runs, monkeypatch):
    def refuse(*_, **__):
        raise UserError("valid holds too few facts")

    monkeypatch.setattr("mmrns.explorer.opened.calibration", refuse)
    fresh = OpenRun(trained_runs[0])
    fresh.calibrate()
    assert fresh.calibrated is False
    assert fresh.ask(Question("tail", 0, 0)).notes[0] == "no probabilities: valid holds too few facts"


def test_scores_that_are_nan_are_an_error_that_names_the_run(trained_runs):
    fresh = OpenRun(trained_runs[1])
    with torch.no_grad():
        fresh.explainer.trained.model.entities.table[5] = torch.nan
    with pytest.raises(UserError, match="uniform: scores are NaN"):
        fresh.ask(Question("tail", 0, 0))


def test_questions_that_train_never_shows_carry_a_note(opened):
    lonely = opened.dataset.entities.row["e57"]  # occurs in test alone, but there are others of its type
    for asks in ("tail", "head"):
        assert not any("little" in note for note in opened.ask(Question(asks, lonely, 0)).notes)
    opened.dataset.records["e57"]["type"] = "unique"
    try:
        fresh = OpenRun(opened.explainer.trained, opened.dataset, name="fresh")
        assert any(
            "of type unique stands as head of “related 0”" in n for n in fresh.ask(Question("tail", lonely, 0)).notes
        )
    finally:
        opened.dataset.records["e57"]["type"] = "odd"
