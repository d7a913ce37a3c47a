"""What an explanation says of the draws is what the sampler draws in training, whatever its options."""

import pytest
import torch

from mmrns.cli import main
from mmrns.explanation import Explainer
from mmrns.graph.answers import TAIL, Queries
from tests.tiny import ENTITIES, train_command

SHARP = {"steps": 2, "pool_size": 0, "num_negatives": 1, "exploration": 0.2, "exploration_schedule": "constant"}


def sharp_run(graph, folder, **options):
    """An explainer of a run whose sampler is far from uniform."""
    assert main(train_command(graph, folder, "mmrns", **SHARP | options)) == 0
    return Explainer(folder)


def drawn_by_training(explainer, triples, times=40):
    """Ids (times, B, n) that the sampler draws for the tails of a batch of train's triples, and the metrics of one."""
    queries, generator = Queries.of(triples, TAIL), torch.Generator().manual_seed(0)
    with torch.inference_mode():
        drawn = [
            explainer.sampler.draw(queries, explainer.trained.model, explainer.trained.step, generator, True)
            for _ in range(times)
        ]
    return torch.stack([negatives.ids for negatives in drawn]), drawn[0].metrics


def explained(explainer, triple):
    names, relations = explainer.dataset.entities.ids, explainer.dataset.relations.ids
    head, relation, tail = triple
    side = explainer.explain(names[head], relations[relation], names[tail], sides=("tail",), top=ENTITIES).sides[0]
    p = torch.zeros(ENTITIES)
    for negative in side.sampling.negatives:
        p[explainer.dataset.entities.row[negative.entity.id]] = negative.probability
    return side.sampling, p


def distance(drawn, p):
    """Total variation distance of draws from probabilities."""
    return float((torch.bincount(drawn.flatten(), minlength=ENTITIES) / drawn.numel() - p).abs().sum() / 2)


@pytest.mark.parametrize("guard_weight", [0.0, 0.3])
@pytest.mark.parametrize("guard", ["similarity", "score", "co-answers"])
def test_a_guarded_candidate_is_as_likely_as_in_training(guard, guard_weight, tiny_graph, tmp_path):
    options = {"guard": guard, "guard_share": 0.2, "guard_weight": guard_weight}
    explainer = sharp_run(tiny_graph, tmp_path / "run", **options)
    triple = explainer.dataset.train[17].tolist()
    drawn, metrics = drawn_by_training(explainer, torch.tensor([triple] * 100))
    sampling, p = explained(explainer, triple)
    assert distance(drawn, p) < 0.06
    assert sampling.entropy == pytest.approx(float(metrics["entropy/all"]), abs=1e-4)


def test_a_share_of_uniform_draws_counts_in_the_score_and_the_mistakes_of_a_draw(tiny_graph, tmp_path):
    explainer = sharp_run(tiny_graph, tmp_path / "run", num_negatives=2, uniform_share=0.5)
    held_out = {(head, relation) for head, relation, _ in explainer.dataset.test.tolist()}
    triple = next(triple for triple in explainer.dataset.train.tolist() if tuple(triple[:2]) in held_out)
    drawn, _ = drawn_by_training(explainer, torch.tensor([triple] * 200))
    sampling, p = explained(explainer, triple)
    assert distance(drawn[..., 0], p) < 0.06
    scores = torch.zeros(ENTITIES)
    for negative in sampling.negatives:
        scores[explainer.dataset.entities.row[negative.entity.id]] = negative.score
    assert sampling.expected_score == pytest.approx(float(scores[drawn].mean()), abs=0.03)
    mistakes = [explainer.dataset.entities.row[n.entity.id] for n in sampling.negatives if n.known]
    share = torch.isin(drawn, torch.tensor(mistakes)).float().mean()
    assert sampling.held_out_mass == pytest.approx(float(share), abs=0.01)
    assert sampling.held_out_mass > 0


def test_a_target_entropy_is_reached_over_questions_of_train_and_not_by_each(tiny_graph, tmp_path):
    explainer = sharp_run(tiny_graph, tmp_path / "run", batch_size=32, entropy_target=0.6, entropy_anneal=0)
    train = torch.from_numpy(explainer.dataset.train)
    found = [explained(explainer, triple) for triple in train[::10].tolist()]
    assert len({sampling.epsilon for sampling, _ in found}) == 1
    entropies = torch.tensor([sampling.entropy for sampling, _ in found])
    assert float(entropies.mean()) == pytest.approx(0.6, abs=0.06)
    far = int((entropies - 0.6).abs().argmax())
    assert abs(entropies[far] - 0.6) > 0.1
    batch = train[10 * far].repeat(640, 1)
    batch[::20] = train[::7][:32]  # the rows that the temperature of a step is solved over
    drawn, metrics = drawn_by_training(explainer, batch, times=6)
    assert found[far][0].epsilon == pytest.approx(float(metrics["epsilon"]), rel=0.2)
    others = torch.arange(640) % 20 > 0
    assert distance(drawn[:, others], found[far][1]) < 0.1
