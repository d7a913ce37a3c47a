"""Entity encoders: every one of them agrees with itself, and what `fused` adds."""

import json

import pytest
import torch

from mmrns import Config, load_dataset
from mmrns.cli import main
from mmrns.encoders import EntityEncoder, build_encoder, entity_inputs
from mmrns.errors import UserError
from mmrns.features import FeatureStore
from mmrns.inference import evaluate, load
from mmrns.plugins import choices
from mmrns.training.objective import build_objective
from tests.tiny import train_command, write_tiny_features, write_tiny_graph

ENTITIES, WIDTH = 6, 4
NAMES = list(choices("mmrns.encoders", EntityEncoder))


class Constant(EntityEncoder):
    """Reads its table as it likes."""

    def everything(self):
        return self.table


def features():
    torch.manual_seed(0)
    text = torch.randn(ENTITIES, 3, dtype=torch.double)
    text[2] = 0
    return {"text": text, "image": torch.randn(ENTITIES, 5, dtype=torch.double)}


def encoder(name, **options):
    torch.manual_seed(1)
    return build_encoder(name, ENTITIES, WIDTH, 0.5, features(), options).double()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rows", [[3], [2, 2, 0], [[5, 1], [0, 4]], [0, 1, 2, 3, 4, 5, 5]])
def test_some_vectors_are_rows_of_all_in_value_and_gradient(name, rows):
    some, everyone = encoder(name), encoder(name)
    rows = torch.tensor(rows)
    taken, expected = some(rows), everyone.everything()[rows]
    torch.testing.assert_close(taken, expected)
    (taken**2).sum().backward()
    (expected**2).sum().backward()
    for mine, theirs in zip(some.parameters(), everyone.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_fused_adds_a_map_of_centred_features_of_equal_length():
    fused, given = encoder("fused", scale=0.5), features()
    expected = fused.table.clone()
    for name, vectors in given.items():
        present = [e for e in range(ENTITIES) if vectors[e].any()]
        mean = sum(vectors[e] for e in present) / len(present)
        for e in present:
            x = vectors[e] - mean
            expected[e] = expected[e] + fused.project[name].weight @ (0.5 * x / x.norm())
    torch.testing.assert_close(fused.everything(), expected)


def test_mean_tokens_are_a_plain_mean_over_present_tokens(tiny_graph):
    features = FeatureStore.open(load_dataset(tiny_graph))
    for name, vectors in entity_inputs(features, "fused").items():
        tokens, present = features.gather(name, torch.arange(len(vectors)))
        for entity in range(len(vectors)):
            mine = tokens[entity][present[entity]]
            expected = mine.mean(0) if len(mine) else torch.zeros(vectors.shape[1])
            torch.testing.assert_close(vectors[entity], expected)


def with_dropout(name, share, shown=(0, 1, 3, 5)):
    torch.manual_seed(1)
    dropping = build_encoder(name, ENTITIES, WIDTH, 0.5, features(), dropout=share).double()
    dropping.shown[:] = False
    dropping.shown[list(shown)] = True
    torch.nn.init.normal_(dropping.unknown)
    return dropping


@pytest.mark.parametrize("name", NAMES)
def test_what_train_does_not_show_has_the_common_vector_in_the_place_of_its_row(name):
    dropping = with_dropout(name, 0.3).eval()
    plain = encoder(name).eval()
    with torch.no_grad():
        plain.table[[2, 4]] = dropping.unknown
    assert torch.equal(dropping.everything(), plain.everything())
    assert torch.equal(dropping(torch.tensor([[2, 0], [4, 4]])), plain(torch.tensor([[2, 0], [4, 4]])))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", ["all", "some"])
def test_a_step_drops_the_share_of_entities_and_trains_the_common_vector_with_them(name, way):
    dropping, steps, dropped = with_dropout(name, 0.3), 3000, torch.zeros(ENTITIES)
    changed = with_dropout(name, 0.3).eval()
    with torch.no_grad():
        changed.table.add_(1.0)  # tells whose own row is in a vector
    kept = changed.everything() - 1.0
    everyone = torch.arange(ENTITIES)
    with torch.no_grad():
        for _ in range(steps):
            vectors = dropping.everything() if way == "all" else dropping(everyone[:-1])
            dropped[: len(vectors)] += ~torch.isclose(vectors, kept[: len(vectors)]).all(1)
    counted = [0, 1, 3, 5] if way == "all" else [0, 1, 3]
    # Five standard deviations of a binomial's share.
    assert (dropped[counted] / steps - 0.3).abs().max() < 5 * (0.3 * 0.7 / steps) ** 0.5
    dropping.everything().sum().backward()
    out = dropping.table.grad.sum(1) == 0
    assert out[[2, 4]].all() and not out.all()
    torch.testing.assert_close(dropping.unknown.grad.sum(), out.sum().double() * WIDTH)


@pytest.mark.parametrize("sampler", ["uniform", "mmrns"])
def test_the_first_gradients_of_dropout_have_bounds(sampler, tiny_graph):
    """PairRE and MMRNS divide by norms of vectors: one that starts at zero has a gradient of 1e8 and more."""
    dataset = load_dataset(tiny_graph)
    options = {"model": "pairre", "sampler": sampler, "entity_dropout": 0.2, "dim": 8, "pool_size": 40}
    torch.manual_seed(0)
    objective = build_objective(Config(**options), dataset, None, torch.device("cpu"))
    objective(torch.from_numpy(dataset.train), 1, torch.Generator().manual_seed(0), False).loss.backward()
    assert objective.model.entities.unknown.grad.any()
    assert all(p.grad is None or p.grad.abs().max() < 10 for p in objective.parameters())


@pytest.mark.parametrize("scale", [0, -1])
def test_a_scale_that_is_none_is_refused(scale):
    with pytest.raises(UserError, match=f"--encoder fused: scale {scale} is not above 0"):
        build_encoder("fused", ENTITIES, WIDTH, 0.5, features(), {"scale": scale})


def test_a_run_with_dropout_predicts_as_it_ranked(tmp_path):
    graph, run = write_tiny_graph(tmp_path / "graph"), tmp_path / "run"
    write_tiny_features(graph)
    assert main(train_command(graph, run, encoder="fused", objective="1vsall", entity_dropout=0.4)) == 0
    ranked = json.loads((run / "metrics.json").read_text())["test"]
    assert evaluate(run)["both"] == ranked["both"]
    entities = load(run).model.entities
    assert [e for e in range(len(entities.shown)) if not entities.shown[e]] == [57]  # tiny.py: in test alone
    assert entities.unknown.any()


def test_a_fused_run_trains_and_predicts_without_its_features(tmp_path):
    graph, run = write_tiny_graph(tmp_path / "graph"), tmp_path / "run"
    write_tiny_features(graph)
    assert main(train_command(graph, run, encoder="fused")) == 0
    trained = load(run)
    assert set(trained.model.entities.inputs) == {"image", "text"}
    before = trained.predict(head="e00", relation="r0", k=3)
    for file in ("features.safetensors", "features.json"):
        (graph / file).unlink()
    assert load(run).predict(head="e00", relation="r0", k=3) == before


def test_what_is_wrong_is_told_in_one_line(capsys):
    with pytest.raises(UserError, match="--encoder fused: the dataset has no features"):
        build_encoder("fused", ENTITIES, WIDTH, 0.5)
    with pytest.raises(UserError, match="--encoder-options: lookup does not take them"):
        build_encoder("lookup", ENTITIES, WIDTH, 0.5, options={"scale": 1})
    with pytest.raises(UserError, match="--encoder neural: unknown; choose one of fused, lookup"):
        build_encoder("neural", ENTITIES, WIDTH, 0.5)
    with pytest.raises(UserError, match=r"--entity-dropout 0\.1: --encoder .*:Constant cannot"):
        build_encoder(f"{__name__}:Constant", ENTITIES, WIDTH, 0.5, dropout=0.1)


def test_encoders_are_listed(capsys):
    assert main(["list", "encoders", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == set(NAMES)
