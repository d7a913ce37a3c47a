"""build_model, a user's own scoring function, and the model's ways to score a query."""

import sys

import pytest
import torch

from mmrns.errors import UserError
from mmrns.graph.answers import HEAD, TAIL, Queries
from mmrns.plugins import choices
from mmrns.scoring import ScoringFunction, build_model

OWN = '''
from mmrns.scoring import ScoringFunction

class Shifted(ScoringFunction):
    """A user's own: three numbers a dimension of an entity, and an option."""

    entity_numbers = 3
    relation_numbers = 2

    def __init__(self, dim, gamma, shift=0.0):
        super().__init__(dim, gamma)
        self.shift = float(shift)

    def score(self, head, relation, tail):
        return self.shift + (head - tail).sum(-1) + relation.sum(-1)

class Unfinished(ScoringFunction):
    pass

class Unrelated:
    pass

number = 3
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The current folder holds own_score.py; the path and the imported module are put back afterwards."""
    (tmp_path / "own_score.py").write_text(OWN)
    (tmp_path / "broken_score.py").write_text("def oops(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("own_score", "broken_score"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", choices("mmrns.scoring", ScoringFunction))
@pytest.mark.parametrize("direction", [HEAD, TAIL])
def test_candidates_answers_and_all_entities_get_the_same_scores(name, direction):
    torch.manual_seed(0)
    model = build_model(name, num_entities=7, num_relations=3, dim=4, gamma=6.0).double()
    queries = Queries.of(torch.tensor([[0, 0, 1], [2, 1, 2], [6, 2, 0]]), direction)
    everyone = model.score_all(queries.anchor, queries.relation, direction)
    vectors = model.entities.everything().expand(3, -1, -1)
    torch.testing.assert_close(everyone, model.score_candidates(queries, vectors), rtol=0, atol=1e-10)
    shared = model.score_shared(queries, model.entities.everything()[2:5], model.entities(queries.anchor))
    torch.testing.assert_close(everyone[:, 2:5], shared, rtol=0, atol=1e-10)
    answers = everyone[torch.arange(3), queries.answer]
    torch.testing.assert_close(answers, model.score_answers(queries), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", choices("mmrns.scoring", ScoringFunction))
def test_the_two_directions_of_a_triple_have_one_score(name):
    torch.manual_seed(0)
    model = build_model(name, num_entities=7, num_relations=3, dim=4, gamma=6.0).double()
    triples = torch.tensor([[0, 0, 1], [2, 1, 3], [6, 2, 0]])
    scores = [model.score_answers(Queries.of(triples, direction)) for direction in (HEAD, TAIL)]
    torch.testing.assert_close(*scores, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", choices("mmrns.scoring", ScoringFunction))
def test_tables_are_as_wide_as_the_function_says_and_start_in_its_range(name):
    model = build_model(name, num_entities=50, num_relations=30, dim=8, gamma=6.0)
    scoring = model.scoring
    assert model.entities.everything().shape == (50, 8 * scoring.entity_numbers)
    assert model.relations.weight.shape == (30, 8 * scoring.relation_numbers)
    for table in (model.entities.everything(), model.relations.weight):
        assert 0.9 < table.abs().max().item() / scoring.initial_range <= 1
    assert scoring.initial_range == (6.0 + 2) / 8


def test_names_are_found_in_any_case():
    assert type(build_model("RotatE", 2, 2, 2, 1.0).scoring) is type(build_model("rotate", 2, 2, 2, 1.0).scoring)


def test_a_users_own_class_works_with_nothing_else_edited(own):
    model = build_model("own_score:Shifted", 5, 2, dim=4, gamma=1.0, options={"shift": 100})
    assert model.entities.everything().shape == (5, 12)
    assert model.relations.weight.shape == (2, 8)
    scores = model.score_all(torch.tensor([0, 1]), torch.tensor([0, 1]), TAIL)
    entities, relations = model.entities.everything(), model.relations.weight
    expected = 100 + entities[1].sum() + relations[1].sum() - entities[4].sum()
    assert scores.shape == (2, 5)
    assert scores[1, 4].item() == pytest.approx(expected.item(), abs=1e-4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rotatee", r"--model rotatee: unknown; choose one of .*rotate, transe.*, or module:Class"),
        ("own_score:Missing", r"--model own_score:Missing: cannot be imported \(.*Missing.*\); write module:Class"),
        ("no_such_module:Any", r"--model no_such_module:Any: cannot be imported"),
        ("broken_score:Any", r"--model broken_score:Any: cannot be imported"),
        (":Any", r"--model :Any: cannot be imported"),
        (
            "own_score:Unrelated",
            r"--model own_score:Unrelated: is not a ScoringFunction; derive it from mmrns\.scoring",
        ),
        ("own_score:number", r"--model own_score:number: is not a ScoringFunction"),
        ("own_score:Unfinished", r"^--model own_score:Unfinished: does not define score; see mmrns\.scoring"),
    ],
)
def test_a_wrong_name_is_told_in_one_line(own, name, message):
    with pytest.raises(UserError, match=message) as error:
        build_model(name, 2, 2, 2, 1.0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("options", [{"nonsense": 1}, {"p": "one"}, {"p": [1]}, {"p": -1}, {"gamma": 3}])
def test_an_option_that_the_function_does_not_take_is_told_in_one_line(options):
    with pytest.raises(UserError, match="--model-options: transe does not take them") as error:
        build_model("transe", 2, 2, 2, 1.0, options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("block", [0, 1.5])
def test_blocks_of_rescal_are_whole(block):
    with pytest.raises(UserError, match=f"--model-options: rescal does not take them .block {block} is not a whole"):
        build_model("rescal", 2, 2, 2, 1.0, {"block": block})
