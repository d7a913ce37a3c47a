"""`mmrns predict --all`: the facts against a plain loop, kills, memory and bad input."""

import json
import re
import shutil
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmrns import load, load_dataset
from mmrns.cli import main
from mmrns.errors import UserError
from mmrns.evaluation.candidates import best_facts, propose
from mmrns.graph.answers import HEAD, TAIL, AnswerIndex
from mmrns.inference.calibration import calibration
from mmrns.inference.completion import Completion
from mmrns.inference.facts_file import _best, write_facts
from mmrns.inference.questions import Questions, block_size
from tests.evaluation.fixed_scores import FixedScores
from tests.inference.runs import OnlyTrain, asked_of, untrained_run, write_graph
from tests.training import stopped


def expected_facts(trained, dataset, ask, k):
    """Every question's k best unknown answers, one triple after the other: (head, relation, tail, asked) -> score."""
    known = {tuple(row) for split in ("train", "valid", "test") for row in dataset.split(split).tolist()}
    loops = {r for h, r, t in dataset.train.tolist() if h == t}
    vectors, relations = trained.model.entities.everything(), trained.model.relations.weight
    found = {}
    for relation in range(len(dataset.relations)):
        for side, asked in ((0, "tail"), (2, "head")):
            for anchor in asked_of(dataset, ask, relation, side):
                answers = []
                for other in range(len(dataset.entities)):
                    fact = (anchor, relation, other) if side == 0 else (other, relation, anchor)
                    if fact in known or (fact[0] == fact[2] and relation not in loops):
                        continue
                    score = trained.model.scoring.score(vectors[fact[0]], relations[relation], vectors[fact[2]])
                    answers.append((score.item(), fact))
                for score, fact in sorted(answers, reverse=True)[:k]:
                    found[(*fact, asked)] = score
    return found


@pytest.mark.parametrize("ask", ["type", "seen", "all"])
def test_facts_are_those_of_a_plain_loop_and_none_is_known(overlapping_run, overlapping, ask, capsys):
    output = overlapping_run / "facts.parquet"
    argv = ["predict", str(overlapping_run), "--all", "--top", "0", "-k", "3", "--questions", ask]
    assert main([*argv, "--output", str(output), "--calibration", "none", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    trained, dataset = load(overlapping_run), load_dataset(overlapping / "graph")
    with torch.inference_mode():
        expected = expected_facts(trained, dataset, ask, 3)
    table = pd.read_parquet(output)
    rows = [
        (trained.entities.row[h], trained.relations.row[r], trained.entities.row[t], asked)
        for h, r, t, asked in zip(table["head"], table["relation"], table["tail"], table["asked"], strict=True)
    ]
    assert len(rows) == len(set(rows)) == said["facts"]
    assert set(rows) == set(expected)
    np.testing.assert_allclose(table["score"], [expected[row] for row in rows], rtol=1e-5)
    assert table["probability"].isna().all()
    anchors = sum(len(asked_of(dataset, ask, r, side)) for r in range(len(dataset.relations)) for side in (0, 2))
    assert (said["questions"], said["resumed"], said["quality"]) == (anchors, 0, None)
    # Question by question, best first within each.
    question = [(r, a, h if a == "tail" else t) for h, r, t, a in rows]
    changes = [i for i in range(1, len(rows)) if question[i] != question[i - 1]]
    assert len(changes) + 1 == len(set(question))
    assert all(table["score"][i] <= table["score"][i - 1] for i in range(1, len(rows)) if i not in changes)


def read_back(path):
    """Ids of the facts of a .parquet or .tsv file."""
    table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, sep="\t", dtype=str)
    return list(table[["head", "relation", "tail"]].itertuples(index=False, name=None))


def test_the_best_are_each_fact_once_by_calibrated_log_odds(overlapping_run, overlapping):
    trained, dataset = load(overlapping_run), load_dataset(overlapping / "graph")
    completion = Completion(trained, dataset, k=5)
    everything = pd.concat([completion.facts(block) for block in completion.blocks()])
    best = {}
    for row in everything.itertuples():
        fact = (row.head, row.relation, row.tail)
        best[fact] = max(best.get(fact, -np.inf), row.order)
    assert len(best) < len(everything)
    output = overlapping_run / "facts.parquet"
    written = write_facts(completion, output, 40)
    assert written["facts"] == 40
    expected = sorted(best.items(), key=lambda item: (-item[1], item[0]))[:40]
    ids, relations = dataset.entities.ids, dataset.relations.ids
    assert read_back(output) == [(ids[h], relations[r], ids[t]) for (h, r, t), _ in expected]
    probability = pd.read_parquet(output)["probability"].to_numpy()
    assert (np.diff(probability) <= 0).all()
    assert ((probability > 0) & (probability < 1)).all()
    assert write_facts(completion, output, 10**6)["facts"] == len(best)


def test_within_a_question_probabilities_never_fall_with_the_score(overlapping_run, overlapping):
    """Among answers whose other question has as many known answers."""
    trained, dataset = load(overlapping_run), load_dataset(overlapping / "graph")
    known = dataset.answers()
    compared = 0
    for method in ("isotonic", "logistic"):
        completion = Completion(trained, dataset, k=30, ask="all", method=method)
        facts = pd.concat([completion.facts(block) for block in completion.blocks()])
        tail = (facts["direction"] == TAIL).to_numpy()
        facts["anchor"] = np.where(tail, facts["head"], facts["tail"])
        answer = np.where(tail, facts["tail"], facts["head"])
        counts = {tuple(q): int(c) for q, c in zip(known.queries().tolist(), known.counts, strict=True)}
        facts["other"] = [
            counts.get((a, r, HEAD if t else TAIL), 0) for a, r, t in zip(answer, facts["relation"], tail, strict=True)
        ]
        for _, group in facts.groupby(["relation", "direction", "anchor", "other"]):
            ranked = group.sort_values("score")["probability"].to_numpy()
            assert (np.diff(ranked) >= 0).all()
            compared += len(ranked) - 1
    assert compared > 1000


def test_thresholds_keep_what_its_relation_vouches_for(overlapping_run, overlapping, capsys):
    trained, dataset = load(overlapping_run), load_dataset(overlapping / "graph")
    thresholds = calibration(trained, dataset).thresholds["0.3"]
    assert None in thresholds.values()
    everything = Completion(trained, dataset, k=30)
    facts = pd.concat([everything.facts(block) for block in everything.blocks()])
    least = facts["relation"].map(lambda r: thresholds[dataset.relations.ids[r]]).astype(float)
    wanted = facts[facts["probability"] >= least]
    output = overlapping_run / "facts.tsv"
    argv = ["predict", str(overlapping_run), "--all", "-k", "30", "--top", "0", "--precision", "0.3"]
    assert main([*argv, "--output", str(output)]) == 0
    ids, relations = dataset.entities.ids, dataset.relations.ids
    assert read_back(output) == [(ids[f.head], relations[f.relation], ids[f.tail]) for f in wanted.itertuples()]
    capsys.readouterr()


def test_one_relation_alone(run, capsys):
    output = run / "facts.tsv"
    assert main(["predict", str(run), "--all", "--relation", "RELATED 2", "--top", "7", "--output", str(output)]) == 0
    assert [relation for _, relation, _ in read_back(output)] == ["r2"] * 7
    assert re.fullmatch(
        r"\d+ questions asked; 7 new facts in \S+facts\.tsv\n"
        r"check against the \d+ facts of test: true are \d\.\d{3} of the first 10, .*\n"
        r"of the facts proposed, \d+ are expected to be true and \d+ are, calibration error 0\.\d{4} "
        r"\(calibration\.json\)\n",
        capsys.readouterr().out,
    )


@pytest.mark.parametrize("top", [pytest.param(0, marks=pytest.mark.slow), 50])
def test_kill_9_at_any_file_then_the_same_bytes(run, tmp_path, monkeypatch, top, capsys):
    argv = ["predict", str(run), "--all", "-k", "3", "--top", str(top), "--json"]
    monkeypatch.setattr("mmrns.inference.questions._MOST_AT_ONCE", 25)
    shutil.copytree(run, tmp_path / "other")
    assert main([*argv[:1], str(tmp_path / "other"), *argv[2:]]) == 0
    expected = (tmp_path / "other" / "predictions.parquet").read_bytes()
    capsys.readouterr()
    # Replaced one after the other: calibration.json, made_from.json, the blocks, predictions.parquet.
    resumed = []
    for number in (3, 4):
        assert stopped.run(argv, tmp_path / "err", "small blocks, die after replacing", number) == -signal.SIGKILL
        assert not (run / "predictions.parquet").exists()
        resumed.append(len(list(run.glob(".predictions.parquet.parts/0*.parquet"))))
    assert resumed == [1, 5]
    assert main(argv) == 0
    assert json.loads(capsys.readouterr().out)["resumed"] > 90
    assert (run / "predictions.parquet").read_bytes() == expected
    assert not list(run.glob(".*"))


def test_another_call_does_not_go_on_with_the_blocks_of_this_one(run, monkeypatch, tmp_path, capsys):
    argv = ["predict", str(run), "--all", "--json"]
    monkeypatch.setattr("mmrns.inference.questions._MOST_AT_ONCE", 25)
    assert stopped.run([*argv, "-k", "3"], tmp_path / "err", "small blocks, die after replacing", 4) == -signal.SIGKILL
    parts = run / ".predictions.parquet.parts"
    assert len(list(parts.glob("0*.parquet"))) == 2
    shutil.copytree(parts, tmp_path / "parts")
    for changed in (["-k", "4"], ["-k", "3", "--questions", "all"], ["-k", "3", "--calibration", "none"], ["-k", "3"]):
        shutil.copytree(tmp_path / "parts", parts, dirs_exist_ok=True)
        capsys.readouterr()
        assert main([*argv, *changed]) == 0
        assert (json.loads(capsys.readouterr().out)["resumed"] > 0) == (changed == ["-k", "3"])


def test_a_second_call_does_not_write_into_the_file_of_one_that_is_at_work(run):
    trained = load(run)
    dataset, output = load_dataset(trained.config.dataset), run / "facts.parquet"
    completion = Completion(trained, dataset, method="none", relation="r0")
    answered, told = completion.facts, []

    def while_another_call_starts(block):
        with pytest.raises(UserError) as refused:
            write_facts(Completion(trained, dataset, method="none", relation="r1"), output, 5)
        told.append(str(refused.value))
        return answered(block)

    completion.facts = while_another_call_starts
    write_facts(completion, output, 5)
    assert {relation for _, relation, _ in read_back(output)} == {"r0"}
    assert told[0] == f"--output {output}: another call is writing it; wait for it to end, or give another file"
    assert not list(run.glob(".facts*"))


def test_a_damaged_block_is_named(run, monkeypatch, capfd):
    trained = load(run)
    completion = Completion(trained, load_dataset(trained.config.dataset), method="none")
    monkeypatch.setattr("mmrns.inference.facts_file._Parts.remove", lambda self: None)
    write_facts(completion, run / "facts.nt", 5)
    part = next(run.glob(".facts.nt.parts/0*.parquet"))
    part.write_bytes(b"noise")
    with pytest.raises(UserError, match=rf"^{part}: cannot be read \(.*\); delete it and run again$"):
        write_facts(completion, run / "facts.nt", 5)


class _Largest(TorchDispatchMode):
    """The largest tensor that is made, in bytes."""

    size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(tensor, torch.Tensor):
                self.size = max(self.size, tensor.untyped_storage().nbytes())
        return made


def test_memory_is_bounded_by_blocks(tmp_path):
    """With a budget of a fiftieth of all scores, no tensor is larger than the budget, and blocks are few questions."""
    rng = np.random.default_rng(3)
    every = [(f"e{h:04}", f"r{r}", f"e{t:04}") for h, r, t in rng.integers(0, (3000, 2, 3000), (4000, 3)).tolist()]
    graph = write_graph(tmp_path / "graph", {"train": every[:3600], "valid": every[3600:3800], "test": every[3800:]})
    trained = load(untrained_run(tmp_path / "run", graph, eval_memory_mb=1))
    dataset = load_dataset(graph)
    completion = Completion(trained, dataset, k=5, method="none")
    assert completion.questions.number * len(dataset.entities) * 4 > 50 * 2**20
    blocks = list(completion.blocks())
    assert 5 < max(len(block.anchors) for block in blocks) <= 2**20 / 24 / len(dataset.entities)
    with _Largest() as largest:
        for block in blocks[:3]:
            completion.facts(block)
    assert 0 < largest.size < 2**20
    assert block_size(trained, 10**9) < block_size(trained, 1)  # answers count too


def test_no_more_than_the_best_so_far_are_held(monkeypatch):
    monkeypatch.setattr("mmrns.inference.facts_file._ROWS_AT_ONCE", 20)
    held = []
    original = best_facts

    def watched(facts, top=None):
        held.append(len(facts))
        return original(facts, top)

    monkeypatch.setattr("mmrns.inference.facts_file.best_facts", watched)
    rng = np.random.default_rng(4)
    whole = pd.DataFrame(rng.integers(0, 6, (500, 4)), columns=["head", "relation", "tail", "direction"])
    whole["order"] = rng.integers(0, 50, 500) / 10
    parts = [whole[start : start + 9] for start in range(0, 500, 9)]
    found = _best(parts, 15)
    assert max(held) <= 15 + 20 + 9
    pd.testing.assert_frame_equal(found.reset_index(drop=True), original(whole, 15).reset_index(drop=True))


def test_scores_that_are_nan_fail_loudly():
    model = FixedScores(torch.full((2, 1, 3, 3), torch.nan))
    index = AnswerIndex(torch.tensor([[0, 0, 1]]), 3, 1)
    for question in Questions(OnlyTrain(3, 1, np.array([[0, 0, 1]])), "seen"):
        with pytest.raises(UserError, match=r"^scores are NaN: the training diverged"):
            propose(model, question, [index], 1, 1.0, False)


ALL = ["predict", "RUN", "--all"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([*ALL, "--head", "e00"], r"--all --head: --all asks of every entity"),
        ([*ALL, "--output", "facts.csv"], r"--output facts\.csv: end its name in \.parquet, \.tsv or \.nt"),
        ([*ALL, "--output", "folder.nt"], r"--output folder\.nt: is a folder; give a file"),
        ([*ALL, "--top", "-1"], r"--top -1: ask for at least 1 fact, or 0"),
        ([*ALL, "-k", "0"], r"-k 0: ask for at least 1 answer a question"),
        ([*ALL, "--precision", "0.15"], r"--precision 0\.15: give one of 0\.1, 0\.2"),
        ([*ALL, "--precision", "0.5", "--calibration", "none"], r"--precision 0\.5: needs probabilities"),
        ([*ALL, "--relation", "r9"], r"--relation r9: unknown relation"),
        ([*ALL, "--relation", "valid only"], r"--relation valid only: train has no fact of it"),
        ([*ALL, "--questions", "some"], r".*invalid choice: 'some'"),
        ([*ALL, "--output", "taken/facts.nt"], r".*taken.*(Not a directory|File exists)"),
        (["predict", "nowhere", "--all"], r"nowhere: not a run folder"),
        (["predict", "RUN", "--relation", "r0", "--head", "e00", "--top", "3"], r"--top: belongs to --all"),
        (["predict", "RUN", "--head", "e00"], r"--relation: missing"),
    ],
)
def test_bad_input_is_one_line(overlapping_run, tmp_path, monkeypatch, capfd, argv, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.nt").mkdir()
    (tmp_path / "taken").write_text("a file")
    before = {path for path in tmp_path.rglob("*") if path.name != "calibration.json"}
    try:
        status = main([str(overlapping_run) if word == "RUN" else word for word in argv])
    except SystemExit as stop:
        status = stop.code
    written = capfd.readouterr()
    assert (status, written.out) == (2, "")
    assert re.fullmatch(rf"mmrns predict: {message}.*\n", written.err)
    assert {path for path in tmp_path.rglob("*") if path.name != "calibration.json"} == before


def test_too_few_valid_facts_and_no_graph_are_said(tmp_path, overlapping_run, overlapping, capfd):
    graph = shutil.copytree(overlapping / "graph", tmp_path / "graph")
    shutil.copy(graph / "train.txt", graph / "valid.txt")  # nothing of valid is unknown
    dataset = load_dataset(graph)
    run = untrained_run(tmp_path / "few", graph, validation="published")
    assert len(dataset.valid)
    for options, status in (([], 2), (["--calibration", "none"], 0)):
        assert main(["predict", str(run), "--all", *options]) == status
    assert "--calibration isotonic: valid holds 0 of the" in capfd.readouterr().err
    assert not (run / "calibration.json").exists()
    shutil.rmtree(graph)
    assert main(["predict", str(run), "--all"]) == 2
    assert re.fullmatch(r"mmrns predict: --dataset \S+graph: no such dataset .*\n", capfd.readouterr().err)
