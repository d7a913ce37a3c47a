"""Calibrated probabilities of `predict --all`: what they are fitted on, kept, and worth."""

import json
import shutil

import numpy as np
import pytest
import torch

from mmrns import load, load_dataset
from mmrns.evaluation.calibration import Calibrator, reliability
from mmrns.evaluation.candidates import Candidates, propose
from mmrns.graph.answers import HEAD, TAIL, AnswerIndex
from mmrns.graph.held_out import dataset_of
from mmrns.inference import calibration as calibration_module
from mmrns.inference.calibration import PRECISIONS, calibration
from mmrns.inference.questions import Questions
from tests.evaluation.fixed_scores import FixedScores
from tests.inference.runs import OnlyTrain, asked_of, untrained_run


def test_calibration_asks_for_each_held_out_split_alone(overlapping_run, overlapping):
    """Facts and which are true, from sets of triples; splits overlap and repeat themselves."""
    trained, dataset = load(overlapping_run), load_dataset(overlapping / "graph")
    found = calibration(trained, dataset)
    train, valid, test = ({tuple(row) for row in dataset.split(split).tolist()} for split in ("train", "valid", "test"))
    assert found.quality["held_out"] == len(test - train - valid) < len(test)
    # The true ones among the 20 best unknown answers of every question; a fact that answers both of its own is one.
    proposed, loops = [], {r for h, r, t in train if h == t}
    for relation in range(len(dataset.relations)):
        for side, direction in ((0, TAIL), (2, HEAD)):
            for anchor in asked_of(dataset, "type", relation, side):
                with torch.inference_mode():
                    scores = trained.model.score_all(torch.tensor([anchor]), torch.tensor([relation]), direction)[0]
                facts = [(anchor, relation, o) if side == 0 else (o, relation, anchor) for o in range(30)]
                rest = [o for o in range(30) if facts[o] not in train | valid and (relation in loops or o != anchor)]
                best = sorted(rest, key=lambda o, scores=scores: -scores[o])[:20]
                proposed += [facts[o] for o in best]
    expected = len(set(proposed) & test)
    assert found.quality["errors"]["observed"] == expected > 20
    assert sum(bin["count"] for bin in found.quality["reliability"]) == len(set(proposed)) < len(proposed)
    curve = found.quality["precision_at"]
    assert all(row["recall"] == pytest.approx(row["precision"] * row["k"] / found.quality["held_out"]) for row in curve)


def test_thresholds_reach_their_precision_with_facts_that_count_once():
    """True facts are proposed by both of their questions far more often than false ones."""
    rng = np.random.default_rng(0)
    true = rng.random(6000) < 0.1
    tails, heads = np.arange(6000), np.flatnonzero(rng.random(6000) < np.where(true, 0.8, 0.1))
    facts = np.concatenate([tails, heads])
    direction = np.repeat([TAIL, HEAD], [len(tails), len(heads)])
    share, zeros = rng.normal(2.0 * true[facts], 1.0), np.zeros(len(facts), dtype=np.int64)
    proposed = Candidates(facts, zeros, facts, direction, share, share, zeros, zeros)
    calibrator = Calibrator.fit(proposed, true[facts], 1, 1.0)
    probability = np.zeros(6000)
    np.maximum.at(probability, facts, calibrator.probability(calibrator.log_odds(proposed)))
    thresholds = calibration_module._thresholds(calibrator, proposed, true[facts], ["r0"])
    assert set(thresholds) == {str(precision) for precision in PRECISIONS}
    for precision in PRECISIONS[2:7]:
        least = thresholds[str(precision)]["r0"]
        assert true[probability >= least].mean() >= precision > true[probability >= least - 0.1].mean()


def test_a_slice_held_out_of_train_calibrates_where_valid_is_broken(overlapping, tmp_path):
    """The valid.txt that the slice stands in for is known, but for what is in the slice itself or in test."""
    trained = load(untrained_run(tmp_path / "run", overlapping / "graph", validation="held-out", held_out=0.2))
    dataset = dataset_of(trained.config)
    train, valid, test, unused = (
        {tuple(row) for row in dataset.split(split).tolist()} for split in ("train", "valid", "test", "unused")
    )
    assert unused & valid
    assert unused & test
    for sought, others, facts in (("valid", train | test, valid), ("test", train | valid, test)):
        index = calibration_module._known_without(dataset, sought)
        listed = set()
        for row, (anchor, relation, direction) in enumerate(index.queries().tolist()):
            answers = index.pairs(torch.tensor([row]))[1].tolist()
            listed |= {(anchor, relation, a) if direction == TAIL else (a, relation, anchor) for a in answers}
        assert listed == others | (unused - facts)
    assert not valid & (train | test)  # so that all of the slice is sought
    assert calibration(trained, dataset).quality["held_out"] == len(test - train - valid)


def test_the_temperature_makes_held_out_answers_likeliest(overlapping_run, overlapping):
    trained, dataset = load(overlapping_run), load_dataset(overlapping / "graph")
    train, valid, test = ({tuple(row) for row in dataset.split(split).tolist()} for split in ("train", "valid", "test"))

    def loss(temperature):
        total = 0.0
        for h, r, t in valid - train - test:
            for anchor, answer, direction in ((h, t, TAIL), (t, h, HEAD)):
                scores = trained.model.score_all(torch.tensor([anchor]), torch.tensor([r]), direction)[0].double()
                rest = [
                    other
                    for other in range(30)
                    if ((anchor, r, other) if direction == TAIL else (other, r, anchor)) not in train | test
                ]
                total -= float(torch.log_softmax(scores[rest] / temperature, 0)[rest.index(answer)])
        return total

    with torch.inference_mode():
        losses = {temperature: loss(temperature) for temperature in calibration_module._TEMPERATURES}
    assert calibration(trained, dataset).calibrator.temperature == min(losses, key=losses.get)


def test_planted_shares_of_truth_are_reported_back():
    """A model whose scores are the logits of what is true, through questions, calibration and quality."""
    rng = np.random.default_rng(0)
    number, relations = 250, 2
    logits = torch.from_numpy(rng.normal(-3.0, 1.5, (relations, number, number))).float()
    holds = torch.rand(logits.shape, generator=torch.Generator().manual_seed(0)) < logits.sigmoid()
    triples = holds.nonzero()[:, [1, 0, 2]]
    part = rng.permutation(len(triples))
    splits = dict(
        zip(
            ("train", "valid", "test"),
            np.split(triples.numpy()[part], [len(part) // 2, 3 * len(part) // 4]),
            strict=True,
        )
    )
    model = FixedScores(torch.stack([logits.transpose(1, 2), logits]))

    def candidates(known, sought):
        index = AnswerIndex(torch.from_numpy(np.concatenate([splits[name] for name in known])), number, relations)
        rows = [
            propose(model, question, [index], number, 1.0, True)[0]
            for question in Questions(OnlyTrain(number, relations, splits["train"]), "seen")
        ]
        found = Candidates.joined(rows)
        return found, found.true_in(AnswerIndex(torch.from_numpy(splits[sought]), number, relations))

    fitted = Calibrator.fit(*candidates(("train", "test"), "valid"), relations, 1.0)
    found, true = candidates(("train", "valid"), "test")
    bins = reliability(fitted.probability(fitted.log_odds(found)), true)
    assert sum(bin["count"] for bin in bins) > 40_000
    assert bins[-1]["mean"] > 0.2  # some facts are told apart from the mean, which is
    assert true.mean() < 0.06
    for bin in bins:
        assert bin["mean"] == pytest.approx(bin["observed"], rel=0.25)


def test_calibration_is_kept_and_made_anew_when_something_changes(overlapping_run, overlapping, tmp_path, monkeypatch):
    graph = shutil.copytree(overlapping / "graph", tmp_path / "graph")
    trained, dataset = load(overlapping_run), load_dataset(graph)
    first = calibration(trained, dataset)
    kept = overlapping_run / "calibration.json"
    content = json.loads(kept.read_text())
    assert set(content["thresholds"]) == {str(p) for p in PRECISIONS}

    def refuse(*_):
        raise AssertionError("made anew")

    with monkeypatch.context() as patch:
        patch.setattr(calibration_module, "_calibrate", refuse)
        assert calibration(trained, dataset) == first
        for changed in ({"ask": "all"}, {"method": "logistic"}):
            with pytest.raises(AssertionError, match="made anew"):
                calibration(trained, dataset, **changed)
        (graph / "entities.jsonl").unlink()  # other types, other questions
        with pytest.raises(AssertionError, match="made anew"):
            calibration(trained, load_dataset(graph))
    # Of an older format: probabilities of answers, not of facts.
    of_answers = json.dumps(content | {"format": "mmrns-calibration-2", "quality": {}})
    for damaged in ("{", "[]", of_answers, json.dumps(content | {"calibrator": {"knots": 1}})):
        kept.write_text(damaged)
        assert calibration(trained, dataset) == first
        assert json.loads(kept.read_text()) == content


def test_a_sample_of_questions_is_exact_and_repeatable(overlapping):
    dataset = load_dataset(overlapping / "graph")
    asked = Questions(dataset, "all")
    whole = {(q.direction, q.relation, anchor) for q in asked for anchor in q.anchors.tolist()}
    assert asked.number == len(whole) == 180
    sampled = [(q.direction, q.relation, anchor) for q in asked.sample(70) for anchor in q.anchors.tolist()]
    assert len(sampled) == len(set(sampled)) == 70
    assert set(sampled) < whole
    assert sampled == [(q.direction, q.relation, anchor) for q in asked.sample(70) for anchor in q.anchors.tolist()]
    assert Questions(dataset, "all", 1).number == 60
    assert Questions(dataset, "all").sha256 == asked.sha256 != Questions(dataset, "seen").sha256
