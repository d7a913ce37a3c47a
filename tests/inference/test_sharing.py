"""A model that travels: saved, pushed and loaded again, through a local stand-in for the hub; and its card."""

import json
import re
import shutil

import huggingface_hub.constants
import pytest
import yaml
from huggingface_hub import ModelCard, ModelHubMixin

from mmrns import TrainedModel, load
from mmrns.cli import main
from mmrns.errors import UserError
from tests.inference.fake_hub import FakeHub
from tests.inference.runs import untrained_run, write_graph
from tests.tiny import train_command

QUESTION = {"head": "e07", "relation": "r2", "k": 20}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub on this machine, and an empty cache."""
    fake = FakeHub()
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", fake.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", fake.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_made_up")
    monkeypatch.chdir(tmp_path)
    yield fake
    fake.close()


@pytest.fixture
def run(finished_run, tmp_path):
    return shutil.copytree(finished_run, tmp_path / "run")


def test_a_saved_folder_answers_as_the_run_and_names_no_place_of_this_machine(run, tiny_graph, tmp_path):
    trained = load(run)
    assert isinstance(trained, ModelHubMixin)
    trained.save_pretrained(tmp_path / "saved")
    names = {path.name for path in (tmp_path / "saved").iterdir()}
    assert names == {"README.md", "config.json", "config.yaml", "metrics.json", "model.safetensors", "vocabulary.json"}
    for path in (tmp_path / "saved").iterdir():
        content = path.read_bytes()
        assert str(tiny_graph).encode() not in content, path
        assert str(run).encode() not in content, path
    shutil.rmtree(run)
    for again in (load(tmp_path / "saved"), TrainedModel.from_pretrained(tmp_path / "saved")):
        assert again.predict(**QUESTION) == trained.predict(**QUESTION)
        assert (again.step, again.config.dataset, again.config.output) == (trained.step, "tiny", "")
        assert again.config.model_dump(exclude={"dataset", "output"}) == trained.config.model_dump(
            exclude={"dataset", "output"}
        )
    # And once more, from the copy.
    load(tmp_path / "saved").save_pretrained(tmp_path / "again")
    assert load(tmp_path / "again").predict(**QUESTION) == trained.predict(**QUESTION)


def test_pushed_to_the_hub_and_loaded_from_there(hub, run, capsys, tmp_path):
    trained = load(run)
    assert main(["push", str(run), "someone/tiny-transe", "--private", "--license", "cc-by-4.0"]) == 0
    printed = capsys.readouterr().out
    assert printed == f"{hub.url}/someone/tiny-transe/commit/{hub.commit('someone/tiny-transe')}\n"
    assert hub.visibility == "private"
    files = hub.repositories["someone/tiny-transe"]
    assert files["model.safetensors"] == (run / "model.safetensors").read_bytes()
    assert not {"state.pt", "environment.json", "ranks.parquet"} & set(files)
    assert yaml.safe_load(files["README.md"].decode().split("---\n")[1])["license"] == "cc-by-4.0"
    hub.repositories["someone/tiny-transe"]["evil.py"] = b"raise SystemExit"
    again = load("someone/tiny-transe")
    assert again.predict(**QUESTION) == trained.predict(**QUESTION)
    assert not list((tmp_path / "cache").rglob("*.py"))  # only what a model needs is fetched
    assert TrainedModel.from_pretrained("someone/tiny-transe").step == trained.step
    assert main(["predict", "someone/tiny-transe", "--head", "e07", "--relation", "r2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [answer["id"] for answer in said] == [answer.id for answer in trained.predict(head="e07", relation="r2")]
    assert main(["predict", "someone/tiny-transe", "--all"]) == 2
    assert re.search(r"\nmmrns predict: --output: missing; the model is not in a folder here", capsys.readouterr().err)
    assert not (tmp_path / "someone").exists()
    # From the cache, when the hub has gone.
    hub.close()
    assert load("someone/tiny-transe").predict(**QUESTION) == trained.predict(**QUESTION)
    with pytest.raises(UserError, match=r"^someone/else: no weights \(not in the local cache, and the hub cannot"):
        load("someone/else")


def test_a_model_that_the_hub_lacks_is_said(hub, run, capfd):
    with pytest.raises(
        UserError, match=r"^no/such: no weights \(.*\); give the folder of a run, or a model that mmrns push"
    ):
        load("no/such")
    assert main(["push", str(run), "not a name"]) == 2
    assert re.fullmatch(r"mmrns push: not a name: not pushed \(.*\n", capfd.readouterr().err)
    assert main(["push", "nowhere", "someone/model"]) == 2
    assert capfd.readouterr().err == "mmrns push: nowhere: no such folder; give one that mmrns train wrote\n"


def test_without_a_token_a_push_is_refused(hub, run, monkeypatch, capfd):
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: None)
    assert main(["push", str(run), "someone/model"]) == 2
    assert re.fullmatch(r"mmrns push: someone/model: not pushed \(.*\n", capfd.readouterr().err)
    assert hub.repositories == {}


def test_without_a_network_a_push_is_refused(hub, run, capfd):
    hub.close()
    assert main(["push", str(run), "someone/model"]) == 2
    assert re.fullmatch(r"mmrns push: someone/model: not pushed \(.*connection.*\n", capfd.readouterr().err)


def test_a_folder_of_the_owners_name_means_a_folder(hub, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match=r"^checkpoints/gone: not a run folder \(no config\.yaml\)"):
        load("checkpoints/gone")
    assert hub.requests == []


def front_matter(text):
    _, matter, body = text.split("---\n", 2)
    return yaml.safe_load(matter), body


def test_the_card_says_what_was_measured(run, tiny_graph):
    metrics = json.loads((run / "metrics.json").read_text())
    matter, body = front_matter(str(load(run).generate_model_card()))
    assert matter["library_name"] == "mmrns"
    assert matter["pipeline_tag"] == "graph-ml"
    assert {"link-prediction", "transe", "mmrns"} <= set(matter["tags"])
    assert "license" not in matter
    (index,) = matter["model-index"]
    (result,) = index["results"]
    assert result["dataset"] == {"name": "tiny", "type": "tiny", "split": "test"}
    found = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert found == {name: metrics["test"]["both"][name] for name in ("mrr", "hits@1", "hits@3", "hits@10")}
    for part in ("both", "head", "tail", "unseen"):
        assert f"| {part} | {metrics['test'][part]['mrr']:.4f} |" in body
    assert "242 train, 30 valid, 30 test" in body
    assert "60 entities" in body
    assert "filtered by train+valid+test, ties at their mean rank; one run, seed 0" in body
    assert "Features of entities in training: image, text" in body
    assert f"step {load(run).step}" in body
    for heading in ("How to use it", "Data", "Results", "Training", "Limits", "Licence"):
        assert f"\n## {heading}\n" in body
    assert "No licence file was found with the data" in body


def test_the_card_is_read_back_by_the_hubs_own_library(run, tmp_path):
    load(run).save_pretrained(tmp_path / "saved", model_card_kwargs={"license": "mit"})
    data = ModelCard.load(tmp_path / "saved" / "README.md").data
    assert (data.model_name, data.license, data.library_name) == ("transe-tiny", "mit", "mmrns")
    assert [(r.dataset_split, r.metric_type) for r in data.eval_results] == [
        ("test", name) for name in ("mrr", "hits@1", "hits@3", "hits@10")
    ]


def test_the_code_on_the_card_runs(run, tmp_path, capsys):
    card = str(load(run).generate_model_card())
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    exec(code.replace("OWNER/NAME", str(run)), {})
    assert capsys.readouterr().out.count("\n") == 5


def test_the_card_says_what_was_ranked_and_that_the_last_checkpoint_was_taken(tiny_graph, tmp_path):
    options = {"selection": "last", "eval_queries": 5, "steps": 2}
    assert main(train_command(tiny_graph, tmp_path / "run", **options)) == 0
    body = str(load(tmp_path / "run").generate_model_card())
    assert "the checkpoint was selected as the last one." in body
    assert "Ranked were 5 of the 30 triples of valid and 5 of the 30 triples of test, drawn at random with" in body


def test_a_run_that_has_not_ended_has_a_card_without_results(run):
    (run / "metrics.json").unlink()
    (run / "environment.json").unlink()
    matter, body = front_matter(str(load(run).generate_model_card()))
    assert "model-index" not in matter
    assert "had not ended when this card was written" in body


def test_the_licence_of_the_data_comes_back_from_the_hub(hub, run, tmp_path):
    (run / "DATA-LICENSE").write_text("Share alike.")
    assert main(["push", str(run), "someone/licensed"]) == 0
    assert hub.repositories["someone/licensed"]["DATA-LICENSE"] == b"Share alike."
    shutil.rmtree(run)
    load("someone/licensed").save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "DATA-LICENSE").read_text() == "Share alike."


def test_the_licence_of_the_data_travels(tmp_path):
    names = ["a: b", "c'd", 'e"f', "- g"]  # names that YAML and Python would take amiss
    triples = [(h, "r: 1", t) for h in names for t in names if h != t]
    graph = write_graph(tmp_path / "graph: #1", {"train": triples[:6], "valid": triples[6:9], "test": triples[9:]})
    (graph / "LICENSE").write_text("Share alike.")
    trained = load(untrained_run(tmp_path / "run", graph))
    trained.save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "DATA-LICENSE").read_text() == "Share alike."
    matter, body = front_matter((tmp_path / "saved" / "README.md").read_text())
    assert matter["license"] == "other"
    assert (matter["license_name"], matter["license_link"]) == ("licence-of-the-data", "DATA-LICENSE")
    assert "under the terms in [DATA-LICENSE](DATA-LICENSE)" in body
    (code,) = re.findall(r"```python\n(.*?)```", body, re.DOTALL)
    exec(code.replace("OWNER/NAME", str(tmp_path / "saved")), {})
    shutil.rmtree(graph)  # the copy still knows
    load(tmp_path / "saved").save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "DATA-LICENSE").read_text() == "Share alike."
