"""Classes of one's own that give something else than they must: one line that names the class, and the mend."""

import re
import sys

import pytest
import torch

from mmrns.cli import main
from mmrns.config import Config
from mmrns.encoders import build_encoder
from mmrns.errors import UserError
from mmrns.graph.answers import TAIL, AnswerIndex, Queries
from mmrns.negatives.base import SamplerContext, build_sampler
from mmrns.scoring import build_model
from tests.tiny import train_command

ENTITIES = 5
TRIPLES = torch.tensor([[0, 0, 1], [2, 1, 2], [3, 0, 4]])
OWN = '''
import torch
from mmrns.encoders import EntityEncoder
from mmrns.negatives import Negatives, NegativeSampler
from mmrns.scoring import ScoringFunction

class Sound(ScoringFunction):
    relation_numbers = 2
    def score(self, head, relation, tail):
        return (head - tail).sum(-1) + relation.sum(-1) + torch.rand(())

class NoScore(ScoringFunction):
    pass

class NotSummed(ScoringFunction):
    def score(self, head, relation, tail):
        return head * relation * tail

class OneForAll(ScoringFunction):
    def score(self, head, relation, tail):
        return (head * relation * tail).sum()

class Number(ScoringFunction):
    def score(self, head, relation, tail):
        return 1.0

class Crash(ScoringFunction):
    def score(self, head, relation, tail):
        return (head @ relation).sum(-1)

class Wants(ScoringFunction):
    def __init__(self, dim, gamma, p):
        super().__init__(dim, gamma)
    def score(self, head, relation, tail):
        return (head * relation * tail).sum(-1)

class NoDraw(NegativeSampler):
    pass

class Ids(NegativeSampler):
    """Gives the ids that `made` makes of the queries' answers."""
    def draw(self, queries, model, step, generator, measure):
        return Negatives(self.made(queries.answer))

class Good(Ids):
    def made(self, answer):
        return answer[:, None].expand(-1, 2)

class Bare(Ids):
    def draw(self, queries, model, step, generator, measure):
        return queries.answer[:, None]

class FewRows(Ids):
    def made(self, answer):
        return answer[:2, None]

class Flat(Ids):
    def made(self, answer):
        return answer

class Beyond(Ids):
    def made(self, answer):
        return answer[:, None] + 1

class Below(Ids):
    def made(self, answer):
        return answer[:, None] - 2

class Real(Ids):
    def made(self, answer):
        return answer[:, None] / 2

class Listed(Ids):
    def made(self, answer):
        return answer[:, None].tolist()

class NoVectors(EntityEncoder):
    pass
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The current folder holds own_classes.py; the path and the imported module are put back afterwards."""
    (tmp_path / "own_classes.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("own_classes", None)


def sampler(name, **options):
    config = Config(sampler=f"own_classes:{name}", num_negatives=2, **options)
    return build_sampler(config, SamplerContext(AnswerIndex(TRIPLES, ENTITIES, 2), None, 4, 4))


def draw(from_it):
    return from_it.draw(Queries.of(TRIPLES, TAIL), None, 1, torch.Generator(), False)


@pytest.mark.parametrize(
    ("flag", "name", "missing"),
    [("model", "NoScore", "score"), ("sampler", "NoDraw", "draw"), ("encoder", "NoVectors", "everything")],
)
def test_a_class_without_its_method_is_told_what_it_lacks(own, flag, name, missing):
    builds = {
        "model": lambda own: build_model(own, ENTITIES, 2, 4, 1.0),
        "sampler": lambda _: sampler(name),
        "encoder": lambda own: build_encoder(own, ENTITIES, 4, 1.0),
    }
    with pytest.raises(UserError) as error:
        builds[flag](f"own_classes:{name}")
    assert str(error.value).startswith(f"--{flag} own_classes:{name}: does not define {missing}; see mmrns.")


def test_options_are_blamed_only_where_there_are_some(own):
    with pytest.raises(UserError, match=r"^--model own_classes:Wants: cannot be made \(.*missing.*'p'\); see its doc"):
        build_model("own_classes:Wants", 5, 2, 4, 1.0)
    with pytest.raises(UserError, match=r"^--model-options: own_classes:Wants does not take them"):
        build_model("own_classes:Wants", 5, 2, 4, 1.0, {"q": 1})
    with pytest.raises(UserError, match=r"^--sampler-options: own_classes:Good does not take them"):
        sampler("Good", sampler_options={"q": 1})
    assert build_model("own_classes:Wants", 5, 2, 4, 1.0, {"p": 1})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NotSummed", r"score gives \(2, 3, 4\), not \(2, 3\): sum over the last axis$"),
        ("OneForAll", r"score gives \(\), not \(2, 3\): give a number for each triple$"),
        ("Number", r"score gives a float, not \(2, 3\): give a number for each triple$"),
        (
            "Crash",
            r"score fails on head, relation and tail of \(2, 1, 4\), .*broadcast \(RuntimeError.*\); mend it$",
        ),
    ],
)
def test_a_score_of_another_shape_is_refused_when_the_model_is_made(own, name, message):
    with pytest.raises(UserError, match=f"^--model own_classes:{name}: {message}") as error:
        build_model(f"own_classes:{name}", 5, 2, 4, 1.0)
    assert "\n" not in str(error.value)


def test_looking_at_a_score_draws_no_random_number(own):
    torch.manual_seed(0)
    expected = build_model("transe", 5, 4, 4, 1.0)  # as many numbers: Sound's two relations are two numbers wide
    after = torch.rand(3)
    torch.manual_seed(0)
    found = build_model("own_classes:Sound", 5, 2, 4, 1.0)
    assert torch.equal(torch.rand(3), after)
    torch.testing.assert_close(found.relations.weight.flatten(), expected.relations.weight.flatten())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Bare", r"draw gives a Tensor, not Negatives; return Negatives\(ids\)$"),
        ("FewRows", r"draw gives ids of \(2, 1\), not \(3, n\): draw n for each query$"),
        ("Flat", r"draw gives ids of \(3,\), not \(3, n\): draw n for each query$"),
        ("Beyond", r"draw gives ids from 2 to 5; those of the entities are from 0 to 4$"),
        ("Below", r"draw gives ids from -1 to 2; those of the entities are from 0 to 4$"),
        ("Real", r"draw gives ids that are torch\.float32; make them a tensor of torch\.int64$"),
        ("Listed", r"draw gives ids that are a list; make them a tensor of torch\.int64$"),
    ],
)
def test_a_draw_of_something_else_is_refused_the_first_time(own, name, message):
    drawing = sampler(name)
    with pytest.raises(UserError, match=f"^--sampler own_classes:{name}: {message}") as error:
        draw(drawing)
    assert "\n" not in str(error.value)


def test_only_the_first_draw_is_looked_at(own):
    drawing = sampler("Good")
    assert "draw" in vars(drawing)
    assert draw(drawing).ids.tolist() == [[1, 1], [2, 2], [4, 4]]
    assert "draw" not in vars(drawing)
    assert draw(drawing).ids.shape == (3, 2)
    assert not drawing.state_dict()


def test_training_with_such_classes_is_refused_in_a_line(own, tiny_graph, capfd):
    assert main(train_command(tiny_graph, "new", model="own_classes:NotSummed")) == 2
    line = r"mmrns train: --model own_classes:NotSummed: score gives .*, not \(2, 3\): sum over the last axis\n"
    assert re.fullmatch(line, capfd.readouterr().err)
    assert not (own / "new").exists()
    assert main(train_command(tiny_graph, "new", sampler="own_classes:Bare")) == 2
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("mmrns train: --sampler own_classes:Bare: draw gives a Tensor")
