"""`mmrns predict --all`: the facts against a plain loop, the files against strict readers, kills, and bad input."""

import csv
import json
import re
import shutil
import signal
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmrns import load, load_dataset
from mmrns.cli import main
from mmrns.errors import UserError
from mmrns.evaluation.calibration import Calibrator, reliability
from mmrns.evaluation.candidates import Candidates, best_facts, propose
from mmrns.graph.answers import HEAD, TAIL, AnswerIndex
from mmrns.graph.held_out import dataset_of
from mmrns.graph.vocabulary import Vocabulary
from mmrns.inference import calibration as calibration_module
from mmrns.inference.calibration import PRECISIONS, calibration
from mmrns.inference.completion import Completion
from mmrns.inference.facts_file import SCHEMA, _best, write_facts
from mmrns.inference.questions import Questions, block_size
from tests.evaluation.fixed_scores import FixedScores
from tests.inference.runs import untrained_run, write_graph
from tests.training import stopped

HAND_SET = {
    # Ids that every format must carry: IRIs, blanks, quotes, non-ASCII, percent signs; labels that break lines.
    "ids": ["<http://kg.org/A_(b)>", "http://kg.org/é", 'say "hi" \\', "100%", "ö b", "plain", "https://bad iri", "#7"],
    "labels": {"plain": "a\tlabel\r\nof two lines", "100%": 'quo"ted', "#7": "日本"},
}


@pytest.fixture
def run(finished_run, tmp_path):
    return shutil.copytree(finished_run, tmp_path / "run", ignore=shutil.ignore_patterns("state.pt", "tensorboard"))


@pytest.fixture(scope="module")
def overlapping(tmp_path_factory):
    """A graph whose splits overlap as DB15K's do, with repeated rows, types and a relation that train lacks."""
    rng = np.random.default_rng(0)
    every = sorted({(f"e{h:02}", f"r{r}", f"e{t:02}") for h, r, t in rng.integers(0, (30, 3, 30), (260, 3)).tolist()})
    every = [every[i] for i in rng.permutation(len(every))]
    train, valid, test = every[:140], every[140:200], every[200:]
    splits = {
        "train": [*train, train[0]],
        "valid": [*train[:90], *test[:15], *valid, valid[0], ("e00", "valid only", "e01")],
        "test": [*test, *train[90:110], test[0]],
    }
    records = [{"id": f"e{n:02}", "type": ["bird", "tree", ""][n % 3]} for n in range(30)]
    folder = tmp_path_factory.mktemp("overlapping")
    write_graph(folder / "graph", splits, records)
    untrained_run(folder / "run", folder / "graph", validation="published")
    return folder


@pytest.fixture
def overlapping_run(overlapping, tmp_path):
    return shutil.copytree(overlapping / "run", tmp_path / "run")


def asked_of(dataset, ask, relation, side):
    """Entities that `ask` names, by its definition."""
    seen = {row[side] for row in dataset.train.tolist() if row[1] == relation}
    kind = [dataset.records.get(name, {}).get("type") for name in dataset.entities.ids]
    if ask == "seen":
        return seen
    if ask == "all":
        return set(range(len(kind))) if seen else set()
    kinds = {kind[entity] for entity in seen} - {None, ""}
    return seen | {entity for entity, its in enumerate(kind) if its in kinds}


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


def test_calibration_asks_for_each_held_out_split_alone(overlapping_run, overlapping):
    """Facts and which are true, from sets of triples; splits overlap and repeat themselves."""
    trained, dataset = load(overlapping_run), load_dataset(overlapping / "graph")
    found = calibration(trained, dataset)
    train, valid, test = ({tuple(row) for row in dataset.split(split).tolist()} for split in ("train", "valid", "test"))
    assert found.quality["held_out"] == len(test - train - valid) < len(test)
    # The true ones among the 20 best unknown answers of every question; a fact counts for each question it answers.
    expected, loops = 0, {r for h, r, t in train if h == t}
    for relation in range(len(dataset.relations)):
        for side, direction in ((0, TAIL), (2, HEAD)):
            for anchor in asked_of(dataset, "type", relation, side):
                with torch.inference_mode():
                    scores = trained.model.score_all(torch.tensor([anchor]), torch.tensor([relation]), direction)[0]
                facts = [(anchor, relation, o) if side == 0 else (o, relation, anchor) for o in range(30)]
                rest = [o for o in range(30) if facts[o] not in train | valid and (relation in loops or o != anchor)]
                best = sorted(rest, key=lambda o, scores=scores: -scores[o])[:20]
                expected += sum(facts[o] in test for o in best)
    assert found.quality["errors"]["observed"] == expected > 30
    curve = found.quality["precision_at"]
    assert all(row["recall"] == pytest.approx(row["precision"] * row["k"] / found.quality["held_out"]) for row in curve)


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
            for question in Questions(_Graph(number, relations, splits["train"]), "seen")
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


class _Graph:
    """What `Questions` needs of a dataset."""

    def __init__(self, entities, relations, train):
        self.entities = Vocabulary("entity", [f"{n:04}" for n in range(entities)])
        self.relations = Vocabulary("relation", [f"{n:04}" for n in range(relations)])
        self.train, self.records = train, {}


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
    for damaged in ("{", "[]", '{"format": "mmrns-calibration-2"}', json.dumps(content | {"calibrator": {"knots": 1}})):
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
        r"answers of test: \d+ expected true and \d+ are, calibration error 0\.\d{4} \(calibration\.json\)\n",
        capsys.readouterr().out,
    )


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A run over a graph whose names no format may mangle."""
    folder = tmp_path_factory.mktemp("odd names")
    ids = HAND_SET["ids"]
    relations = ["http://kg.org/p#1", "is <a>"]
    rng = np.random.default_rng(1)
    every = [(h, r, t) for h in ids for r in relations for t in ids]
    chosen = [every[i] for i in rng.permutation(len(every))[:80]]
    splits = {"train": chosen[:50], "valid": chosen[50:65], "test": chosen[65:]}
    records = [{"id": i, "label": HAND_SET["labels"].get(i, i)} for i in ids]
    write_graph(folder / "my graph", splits, records)
    untrained_run(folder / "run", folder / "my graph")
    return folder


def completed(odd, output):
    assert main(["predict", str(odd / "run"), "--all", "--top", "25", "--output", str(output)]) == 0
    return output


def test_parquet_holds_the_schema_and_the_names(odd, tmp_path):
    table = pq.read_table(completed(odd, tmp_path / "facts.parquet"))
    assert table.schema.equals(SCHEMA)
    rows = table.to_pylist()
    assert {row["head"] for row in rows} <= set(HAND_SET["ids"])
    for row in rows:
        assert row["head_label"] == HAND_SET["labels"].get(row["head"], row["head"])
        assert row["asked"] in ("head", "tail")
    assert len(rows) == 25


def test_tsv_has_a_line_a_fact_and_its_first_columns_are_a_datasets(odd, tmp_path):
    table = pd.read_parquet(completed(odd, tmp_path / "facts.parquet"))
    text = completed(odd, tmp_path / "facts.tsv").read_bytes().decode("utf-8")
    header, *lines = text.removesuffix("\n").split("\n")
    assert header.split("\t") == SCHEMA.names
    rows = list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [row[:3] for row in rows] == table[["head", "relation", "tail"]].values.tolist()
    assert {len(row) for row in rows} == {len(SCHEMA)}
    assert "a label of two lines" in {row[3] for row in rows} | {row[5] for row in rows}
    np.testing.assert_allclose([float(row[8]) for row in rows], table["probability"], rtol=1e-5)


# RDF 1.1 N-Triples, W3C Recommendation: IRIREF has no blanks, controls, <>"{}|^` or backslash; an EOL is [\r\n]+.
_IRI = r"<([A-Za-z][A-Za-z0-9+.-]*:[^\x00-\x20<>\"{}|^`\\]*)>"
_TRIPLE = re.compile(rf"[ \t]*{_IRI}[ \t]*{_IRI}[ \t]*{_IRI}[ \t]*\.[ \t]*(?:#([^\r\n]*))?")


def parse_ntriples(content):
    """(triple of IRIs, comment) of every line; whatever the grammar does not allow is an error."""
    text = content.decode("utf-8", errors="strict")
    found = []
    for line in re.split(r"[\r\n]+", text.removesuffix("\n")):
        match = _TRIPLE.fullmatch(line)
        assert match, line
        found.append((match.groups()[:3], match[4]))
    return found


def test_ntriples_are_read_back_by_a_strict_parser(odd, tmp_path):
    table = pd.read_parquet(completed(odd, tmp_path / "facts.parquet"))
    parsed = parse_ntriples(completed(odd, tmp_path / "facts.nt").read_bytes())
    prefix = "urn:mmrns:my%20graph:"

    def identifier(iri):
        if not iri.startswith(prefix):
            return {"http://kg.org/A_(b)": "<http://kg.org/A_(b)>"}.get(iri, iri)
        assert re.fullmatch(r"(?:[A-Za-z0-9_.~-]|%[0-9A-F]{2})+", iri.removeprefix(prefix))
        return unquote(iri.removeprefix(prefix), errors="strict")

    read = [tuple(map(identifier, triple)) for triple, _ in parsed]
    assert read == list(table[["head", "relation", "tail"]].itertuples(index=False, name=None))
    kept = {iri for triple, _ in parsed for iri in triple if not iri.startswith(prefix)}
    assert kept == {"http://kg.org/A_(b)", "http://kg.org/é", "http://kg.org/p#1"}
    said = [float(re.fullmatch(r" probability (\S+)", comment)[1]) for _, comment in parsed]
    np.testing.assert_allclose(said, table["probability"], rtol=1e-5)


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
    for question in Questions(_Graph(3, 1, np.array([[0, 0, 1]])), "seen"):
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
