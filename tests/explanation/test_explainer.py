"""An explanation's numbers are the sampler's own equations, over every entity, and the evaluator's ranks."""

import dataclasses
import json
import math
import shutil

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from mmrns import load, load_dataset
from mmrns.cli import main
from mmrns.errors import UserError
from mmrns.explanation import Explainer, explain
from mmrns.explanation.sampling import distribution, left
from mmrns.features import FeatureStore
from mmrns.graph.answers import HEAD, TAIL, Queries
from tests.negatives import reference
from tests.tiny import ENTITIES, tiny_features, train_command

NAMES = {"tail": ("head", TAIL), "head": ("tail", HEAD)}


@pytest.fixture(scope="module")
def explainer(finished_run):
    return Explainer(finished_run)


@pytest.fixture(scope="module")
def by_equations(finished_run, tiny_graph):
    """sim_m(answer, every entity) under a relation, and KCA's parts, from the files of the run alone."""
    stored = {name: tensor.double() for name, tensor in load_file(finished_run / "model.safetensors").items()}
    config = load(finished_run).config
    store = FeatureStore.open(load_dataset(tiny_graph))
    rows = torch.arange(ENTITIES)
    image, image_has = store.gather("image", rows)
    text, text_has = store.gather("text", rows)
    parts = {
        prefix: {
            n.removeprefix(f"sampler.{prefix}."): t for n, t in stored.items() if n.startswith(f"sampler.{prefix}.")
        }
        for prefix in ("attention", "structure")
    }

    def z(entity, relation):
        vector = stored["model.relations.weight"][relation]
        inputs = image[entity].double(), image_has[entity], text[entity].double(), text_has[entity]
        of_image, of_text = reference.kca(parts["attention"], *inputs, vector, config.leaky_slope)
        of_structure = reference.structure(
            parts["structure"], stored["model.entities.table"][entity], vector, config.leaky_slope
        )
        return {"image": of_image, "text": of_text, "structure": of_structure}

    def similarities(answer, relation):
        of_answer, of_all = z(answer, relation), [z(entity, relation) for entity in range(ENTITIES)]
        return {
            name: torch.stack(
                [reference.cosine(of_answer[name], other[name], config.cosine_epsilon) for other in of_all]
            )
            for name in of_answer
        }

    has = {"image": image_has.any(1), "text": text_has.any(1), "structure": torch.ones(ENTITIES, dtype=torch.bool)}
    return similarities, has, (parts["attention"], image, image_has, text, text_has, stored, config)


def answers_by_reading(dataset, direction, anchor, relation, *splits):
    found = set()
    for split in splits:
        for head, r, tail in dataset.split(split).tolist():
            given, answer = (head, tail) if direction == TAIL else (tail, head)
            if (given, r) == (anchor, relation):
                found.add(answer)
    return found


@pytest.mark.parametrize("number", [0, 17, 101])
@pytest.mark.parametrize("asks", ["tail", "head"])
def test_probabilities_and_similarities_are_the_samplers_equations(explainer, by_equations, number, asks):
    similarities, has, (*_, config) = by_equations
    dataset = explainer.dataset
    head, relation, tail = dataset.train[number].tolist()
    names = dataset.entities.ids
    side = explainer.explain(
        names[head], dataset.relations.ids[relation], names[tail], sides=(asks,), top=ENTITIES
    ).sides[0]
    anchor, answer = (head, tail) if asks == "tail" else (tail, head)

    expected = similarities(answer, relation)
    epsilon = config.exploration / (1 + math.log(explainer.trained.step))
    assert side.sampling.epsilon == pytest.approx(epsilon)
    p = reference.distribution(expected, {name: bool(has[name][answer]) for name in has}, has, epsilon)
    direction = NAMES[asks][1]
    known = answers_by_reading(dataset, direction, anchor, relation, "train")
    p[list(known)] = 0
    p = p / p.sum()

    shown = {dataset.entities.row[negative.entity.id]: negative for negative in side.sampling.negatives}
    assert set(shown) == set(range(ENTITIES)) - known
    assert side.sampling.candidates == ENTITIES - len(known)
    held_out = answers_by_reading(dataset, direction, anchor, relation, "valid", "test")
    for row, negative in shown.items():
        assert negative.probability == pytest.approx(float(p[row]), rel=1e-4)
        assert negative.times_uniform == pytest.approx(float(p[row]) * len(shown), rel=1e-4)
        for name, value in negative.similarity.items():
            if has[name][row] and has[name][answer]:
                assert value == pytest.approx(float(expected[name][row]), abs=2e-5)
            else:
                assert value is None
        assert (negative.known is not None) == (row in held_out)
    probabilities = [negative.probability for negative in side.sampling.negatives]
    assert probabilities == sorted(probabilities, reverse=True)
    entropy = -sum(float(x) * math.log(float(x)) for x in p if x > 0) / math.log(len(shown))
    assert side.sampling.entropy == pytest.approx(entropy, rel=1e-5)
    assert side.sampling.held_out_mass == pytest.approx(float(p[list(held_out - known)].sum()), rel=1e-4, abs=1e-9)
    scores = torch.tensor([shown[row].score for row in sorted(shown)]).double()
    assert side.sampling.expected_score == pytest.approx(float(p[sorted(shown)] @ scores), rel=1e-4)
    assert side.sampling.uniform_score == pytest.approx(float(scores.mean()), rel=1e-4)


def test_candidates_in_blocks_give_the_same(explainer, monkeypatch):
    trained = explainer.trained
    answer = torch.tensor([3, 59, 0])
    queries = Queries(torch.tensor([4, 5, 6]), torch.tensor([1, 2, 1]), answer, TAIL)
    whole = distribution(explainer.sampler, trained.model, queries, 30)
    monkeypatch.setattr("mmrns.explanation.sampling._BLOCK", 7)
    blocks = distribution(explainer.sampler, trained.model, queries, 30)
    torch.testing.assert_close(blocks.likely, whole.likely)
    for name, values in whole.similarity.items():
        torch.testing.assert_close(blocks.similarity[name], values, equal_nan=True)


def test_a_sampler_so_sharp_that_only_answers_have_mass_draws_evenly_from_the_rest(explainer):
    p = torch.zeros(1, ENTITIES)
    head, relation, tail = explainer.dataset.train[0].tolist()
    p[0, tail] = 1.0
    known = torch.zeros(1, ENTITIES, dtype=torch.bool)
    known[0, list(answers_by_reading(explainer.dataset, TAIL, head, relation, "train"))] = True
    found, possible = left(p, known, None, 0.0)
    assert possible.equal(~known) and known[0, tail]
    assert found[0, possible[0]].tolist() == pytest.approx([1 / int(possible.sum())] * int(possible.sum()))


@pytest.mark.parametrize(("entity", "relation"), [(3, 0), (20, 3), (41, 1)])
def test_attention_is_method_section_3(explainer, by_equations, entity, relation):
    _, _, (state, image, image_has, text, text_has, stored, config) = by_equations
    i = reference.leaky_relu(reference.linear(state, "project.image", image[entity].double()), config.leaky_slope)
    t = reference.leaky_relu(reference.linear(state, "project.text", text[entity].double()), config.leaky_slope)
    m = (i * image_has[entity][:, None]) @ (t * text_has[entity][:, None]).T
    vector = stored["model.relations.weight"][relation]
    found = {a.modality: a for a in explainer.attention(entity, relation)}
    for name, other, affinity, has, slots in (
        ("image", "text", m.T, image_has[entity], text_has[entity]),
        ("text", "image", m, text_has[entity], image_has[entity]),
    ):
        if not has.any():
            assert name not in found
            continue
        attended = found[name]
        assert (attended.attended_from, attended.present, attended.slots) == (other, has.tolist(), slots.tolist())
        gate = torch.sigmoid(reference.linear(state, f"branches.{name}.gate", vector)).view_as(affinity)
        torch.testing.assert_close(torch.tensor(attended.affinity).double(), affinity, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(torch.tensor(attended.gate).double(), gate, rtol=1e-4, atol=1e-6)
        for k in range(len(slots)):
            exponents = [math.exp(v) if h else 0.0 for v, h in zip(affinity[k].tolist(), has.tolist(), strict=True)]
            assert attended.free[k] == pytest.approx([e / sum(exponents) for e in exponents], rel=1e-4)
            a = (gate * affinity)[k]
            if float(a.abs().sum()) > 0:
                assert attended.guided[k] == pytest.approx((a / a.abs().sum()).tolist(), rel=1e-3, abs=1e-6)
        if slots.any():
            assert sum(attended.weight_free) == pytest.approx(1, rel=1e-5)
            assert sum(attended.weight_guided) == pytest.approx(1, rel=1e-5)
            rows = [attended.free[k] for k in range(len(slots)) if slots[k]]
            assert attended.weight_free == pytest.approx(
                [sum(c) / len(rows) for c in zip(*rows, strict=True)], rel=1e-5
            )
        else:
            assert attended.weight_free == attended.weight_guided == []


def test_ranks_are_those_of_the_evaluation(explainer, finished_run):
    table = pd.read_parquet(finished_run / "ranks.parquet")
    for row in table.iloc[::7].itertuples():
        (side,) = explainer.explain(row.head, row.relation, row.tail, sides=(row.direction,)).sides
        assert (side.rank, side.optimistic, side.pessimistic) == (row.rank, row.optimistic, row.pessimistic)
        assert side.candidates == row.candidates
        assert side.above["new"] == row.optimistic - 1


def test_what_stands_above_is_marked_by_its_split(explainer):
    dataset = explainer.dataset
    head, relation, tail = dataset.test[0].tolist()
    names = dataset.entities.ids
    found = explainer.explain(names[head], f"r{relation}", names[tail], sides=("tail",), top=ENTITIES)
    (side,) = found.sides
    assert found.split == "test"
    assert [answer.place for answer in side.ranking] == list(range(1, ENTITIES + 1))
    assert [answer.score for answer in side.ranking] == sorted((a.score for a in side.ranking), reverse=True)
    above = [a for a in side.ranking if a.score > next(b.score for b in side.ranking if b.asked)]
    counted = {key: sum((a.known or "new") == key for a in above) for key in side.above}
    assert side.above == counted
    for answer in side.ranking:
        row = dataset.entities.row[answer.entity.id]
        listed = [s for s in ("train", "valid", "test") if row in answers_by_reading(dataset, TAIL, head, relation, s)]
        assert answer.known == (listed[0] if listed else None)


def test_the_answer_is_shown_even_when_it_is_far_down(explainer):
    worst = explainer.explain("e00", "r0", "e01", sides=("tail",), top=ENTITIES).sides[0].ranking[-1].entity.id
    ranking = explainer.explain("e00", "r0", worst, sides=("tail",), top=2).sides[0].ranking
    assert [answer.place for answer in ranking] == [1, 2, ENTITIES]
    assert [answer.asked for answer in ranking] == [False, False, True]


def test_a_triple_that_is_not_known_masks_its_own_answer(explainer):
    found = explainer.explain("e00", "r0", "e57", top=ENTITIES)
    assert found.split is None
    for side in found.sides:
        assert side.answer.id not in {negative.entity.id for negative in side.sampling.negatives}


def test_names_may_be_labels_and_the_function_takes_a_folder(explainer, finished_run):
    by_id = explainer.explain("e07", "r2", "e08")
    assert explain(finished_run, "thing 7", "Related 2", "THING 8") == by_id


@pytest.mark.parametrize(
    ("triple", "message"),
    [
        (("Thing 77", "r0", "e01"), "--head Thing 77: unknown entity; did you mean 'Thing 7'"),
        (("e00", "relatd 1", "e01"), "--relation relatd 1: unknown relation; did you mean 'related 1'"),
        (("e00", "r0", "The Twin"), "--tail The Twin: 2 share this label"),
    ],
)
def test_an_unknown_name_is_one_line_with_the_nearest(finished_run, capsys, triple, message):
    head, relation, tail = triple
    argv = ["explain", str(finished_run), "--head", head, "--relation", relation, "--tail", tail]
    assert main(argv) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith(f"mmrns explain: {message}") and written.err.count("\n") == 1


def test_k_below_one_is_refused(explainer):
    with pytest.raises(UserError, match="-k 0: ask for at least 1"):
        explainer.explain("e00", "r0", "e01", top=0)


@pytest.mark.parametrize("sampler", ["uniform", "mmrns"])
def test_a_run_that_does_not_draw_by_likeness_alone_has_no_sampler_to_explain(sampler, tiny_graph, tmp_path, capsys):
    options = {"steps": 2, "modalities": "structure,score"}  # of which the uniform sampler makes no use
    assert main(train_command(tiny_graph, tmp_path / "run", sampler, **options)) == 0
    capsys.readouterr()
    argv = ["explain", str(tmp_path / "run"), "--head", "e00", "--relation", "r0", "--tail", "e01"]
    assert main([*argv, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["notes"] == [
        f"no sampler to explain: {sampler} does not choose negatives by likeness alone; ranks are still shown"
    ]
    assert [(side["sampling"], side["attention"]) for side in found["sides"]] == [(None, [])] * 2
    assert all(1 <= side["rank"] <= ENTITIES for side in found["sides"])
    assert main([*argv, "--png", str(tmp_path / "uniform.png")]) == 0
    assert (tmp_path / "uniform.png").read_bytes().startswith(b"\x89PNG")
    assert "no sampler to explain" in capsys.readouterr().out


def test_a_run_without_features_explains_structure_alone(tiny_graph, tmp_path):
    bare = shutil.copytree(tiny_graph, tmp_path / "bare", ignore=shutil.ignore_patterns("features.*"))
    assert main(train_command(bare, tmp_path / "run", "mmrns", steps=2)) == 0
    found = explain(tmp_path / "run", "e00", "r0", "e01")
    assert found.notes == ["no attention to explain: this run's sampler judges likeness by structure alone"]
    for side in found.sides:
        assert side.attention == []
        assert all(list(negative.similarity) == ["structure"] for negative in side.sampling.negatives)


def test_features_that_a_run_was_not_begun_with_are_refused(tiny_graph, tmp_path):
    graph = shutil.copytree(tiny_graph, tmp_path / "graph")
    for sampler in ("mmrns", "uniform"):
        assert main(train_command(graph, tmp_path / sampler, sampler, steps=2)) == 0
    FeatureStore.write(load_dataset(graph), tiny_features(seed=1))
    for sampler in ("mmrns", "uniform"):
        with pytest.raises(UserError, match=rf"{sampler}: was begun with other features .* than .*graph holds now"):
            Explainer(tmp_path / sampler)
    for name in ("features.safetensors", "features.json"):
        (graph / name).unlink()
    with pytest.raises(UserError, match=r"mmrns: was begun with other features"):
        Explainer(tmp_path / "mmrns")
    assert Explainer(tmp_path / "uniform").sampler is None  # which compares none


def test_a_uniform_run_without_features_is_shown_beside_those_that_came_later(tiny_graph, tmp_path):
    bare = shutil.copytree(tiny_graph, tmp_path / "bare", ignore=shutil.ignore_patterns("features.*"))
    assert main(train_command(bare, tmp_path / "run", steps=2)) == 0
    FeatureStore.write(load_dataset(bare), tiny_features())
    assert Explainer(tmp_path / "run").features is not None


def test_json_holds_what_python_returns(explainer, finished_run, capsys):
    argv = ["explain", str(finished_run), "--head", "e07", "--relation", "r2", "--tail", "e08", "-k", "4", "--json"]
    assert main([*argv, "--side", "head"]) == 0
    expected = dataclasses.asdict(explainer.explain("e07", "r2", "e08", sides=("head",), top=4))
    assert json.loads(capsys.readouterr().out) == expected


def test_the_text_shows_rank_negatives_and_attention(explainer, finished_run, capsys):
    assert main(["explain", str(finished_run), "--head", "e07", "--relation", "r2", "--tail", "e08", "-k", "3"]) == 0
    text = capsys.readouterr().out
    found = explainer.explain("e07", "r2", "e08", top=3)
    for side in found.sides:
        assert f"ranks {side.rank:g}" in text
        for negative in side.sampling.negatives:
            assert f"{negative.probability:.5f}" in text
        for attended in side.attention:
            if attended.weight_gate:
                shown = [g for g, there in zip(attended.weight_gate, attended.present, strict=True) if there]
                assert all(f"{gate:.3f}" in text for gate in shown)
    assert "without and with 'related 2'" in text


def test_png_goes_to_a_file_or_into_a_folder(finished_run, tmp_path, capsys):
    argv = ["explain", str(finished_run), "--head", "e07", "--relation", "r2", "--tail", "e08", "--json"]
    assert main([*argv, "--png", str(tmp_path / "one.png")]) == 0
    assert main([*argv, "--png", str(tmp_path / "folder")]) == 0
    assert {path.name for path in (tmp_path / "folder").iterdir()} == {"tail.png", "head.png"}
    assert (tmp_path / "one.png").stat().st_size > (tmp_path / "folder/tail.png").stat().st_size
    capsys.readouterr()
    (tmp_path / "text").write_text("mine")
    assert main([*argv, "--png", str(tmp_path / "text")]) == 2
    assert "ends in .png" in capsys.readouterr().err
    assert (tmp_path / "text").read_text() == "mine"
