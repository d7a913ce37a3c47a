"""Bad input: exit status 2, one line that names the culprit, no traceback, and nothing half-written."""

import pickle
import re

import pytest
import torch

from tests.commands.refusing import contents, refuse
from tests.tiny import train_command


def spoil(name, content):
    def change(place):
        path = place / name
        if content is None:
            path.unlink()
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_bytes(content(path.read_bytes()))

    return change


def rename_an_entity(place):
    for split in ("train", "valid", "test"):
        path = place / f"tiny/{split}.txt"
        path.write_text(path.read_text().replace("e30", "zzz"))


def add_an_entity(place):
    with (place / "tiny/train.txt").open("a") as file:
        file.write("e00\tr0\tnew\n")


def write(name, text):
    def change(place):
        (place / name).write_text(text)

    return change


TRAIN = train_command("tiny", "new", "mmrns")
BAD_GRAPHS = {
    "missing split": (spoil("tiny/valid.txt", None), r"tiny/valid\.txt: missing"),
    "two columns": (spoil("tiny/test.txt", b"a\tr\tb\na\tb\n"), r"tiny/test\.txt:2: 2 columns instead of 3"),
    "four columns": (spoil("tiny/train.txt", lambda old: old + b"a\tb\tc\td\n"), r"train\.txt:243: 4 columns"),
    "not UTF-8": (spoil("tiny/train.txt", lambda old: old + b"\xff\tr\tb\n"), r"train\.txt:243: not UTF-8"),
    "empty file": (spoil("tiny/train.txt", b""), r"tiny/train\.txt: is empty"),
    "entities.jsonl": (
        spoil("tiny/entities.jsonl", b'{"id": "a"}\n{"id": 3}\n'),
        r"entities\.jsonl:2: needs an object",
    ),
    "half a surrogate pair": (
        spoil("tiny/relations.jsonl", lambda old: old + rb'{"id": "r9", "label": "x\ud83d"}'),
        r'relations\.jsonl:5: "label" holds \\ud83d, half of a surrogate pair',
    ),
    "features of another number of entities": (add_an_entity, r"features\.json: made for 60 entities, .* has 61"),
    "features of another vocabulary": (rename_an_entity, r"features\.json: made for another entity vocabulary"),
    "features cut short": (
        spoil("tiny/features.safetensors", lambda old: old[:-100]),
        r"features\.safetensors: not a sound safetensors file",
    ),
    "features that are noise": (
        spoil("tiny/features.safetensors", b"noise" * 50),
        r"features\.safetensors: not a sound safetensors file",
    ),
    "manifest that is not JSON": (spoil("tiny/features.json", b"{"), r"features\.json: not readable as JSON"),
}


@pytest.mark.parametrize("name", BAD_GRAPHS)
def test_training_on_a_bad_graph(place, capfd, name):
    change, culprit = BAD_GRAPHS[name]
    change(place)
    assert re.search(culprit, refuse(TRAIN, capfd))
    assert not (place / "new").exists()


@pytest.mark.parametrize(
    ("options", "culprit"),
    [
        ({"dataset": "nowhere"}, "--dataset nowhere: no such dataset"),
        ({"model": "transg"}, "--model transg: unknown; choose one of .*transe"),
        ({"model": "no.such:Model"}, "--model no.such:Model: cannot be imported"),
        ({"model": "mmrns.files:write_text"}, "--model mmrns.files:write_text: is not a ScoringFunction"),
        ({"model": ":"}, "--model :: cannot be imported"),
        ({"sampler": "unifrom"}, "--sampler unifrom: unknown; choose one of mmrns, uniform"),
        ({"model_options": '{"q": 1}'}, "--model-options: transe does not take them"),
        ({"model_options": "{"}, "--model-options: needs a JSON object"),
        ({"sampler_options": '{"q": 1}'}, "--sampler-options: mmrns does not take them"),
        ({"dim": "wide"}, "--dim: .*integer.*'wide'"),
        ({"dim": 0}, "--dim: .*greater than 0.*'0'"),
        ({"learning_rate": "nan"}, "--learning-rate: "),
        ({"seed": 2**32}, "--seed: .*less than 4294967296"),
        ({"subsampling": "maybe"}, "--subsampling: .*boolean.*'maybe'"),
        ({"schedule": "quadratic"}, "--schedule: .*'linear'.*'quadratic'"),
        ({"modalities": "image,smell"}, "--modalities: write some of image, text, structure"),
        ({"num_negatives": 21}, "--num-negatives 21 is larger than --pool-size 20"),
        ({"num_negatives": 60, "pool_size": 0}, "60: the graph has 60 entities; give --num-negatives 59 or"),
        ({"num_negatives": 60, "sampler": "uniform"}, "--num-negatives 60: the graph has 60 entities"),
        ({"output": "run"}, "--output run: already holds something; continue it with --resume run"),
        ({"output": "tiny/train.txt"}, "--output tiny/train.txt: already holds something"),
        ({"output": "tiny/train.txt/below"}, "tiny/train.txt/below"),
        ({"features": "run"}, r"run/features\.safetensors: no such file"),
        ({"config": "none.yaml"}, "--config none.yaml: no such file"),
        ({"not_an_option": 1}, "^mmrns train: --not-an-option: unknown; see mmrns train --help$"),
        ({"ste": 1}, r"^mmrns train: --ste: unknown; did you mean --steps\? see mmrns train --help$"),
    ],
    ids=str,
)
def test_training_with_a_bad_option(place, capfd, options, culprit):
    run, data = contents(place / "run"), contents(place / "tiny")
    argv = train_command(**({"dataset": "tiny", "output": "new", "sampler": "mmrns"} | options))
    assert re.search(culprit, refuse(argv, capfd))
    assert not (place / "new").exists()
    assert (contents(place / "run"), contents(place / "tiny")) == (run, data)


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["train", "--step=3"], "mmrns train: --step: unknown; did you mean --steps? see mmrns train --help"),
        (["check", "g", "--stric"], "mmrns check: --stric: unknown; did you mean --strict? see mmrns check --help"),
        (["check", "g", "--xyz", "3"], "mmrns check: --xyz: unknown; see mmrns check --help"),
        (["check", "g", "h"], "mmrns check: unrecognized arguments: h; see mmrns check --help"),
        (
            ["benchmark", "step", "--thread", "3"],
            "mmrns benchmark step: --thread: unknown; did you mean --threads? see mmrns benchmark step --help",
        ),
        (["--xyz", "check", "g"], "mmrns: --xyz: unknown; see mmrns --help"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_unknown_flag_leads_to_the_help_of_its_command(capfd, argv, line):
    assert refuse(argv, capfd) == line


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["check", "nowhere"], "^mmrns check: nowhere: no such dataset .looked in nowhere, "),
        (["extract", "nowhere"], "^mmrns extract: nowhere: no such dataset "),
        (["train", "--dataset", "nowhere"], "^mmrns train: --dataset nowhere: no such dataset "),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_dataset_that_is_not_there_is_named_as_it_was_given(place, capfd, argv, line):
    assert re.search(line, refuse(argv, capfd))


def test_cuda_without_a_gpu(place, capfd, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    argv = train_command("tiny", "new", device="cuda")
    assert "--device cuda: no GPU is available" in refuse(argv, capfd)
    assert not (place / "new").exists()


@pytest.mark.parametrize(
    "body", ["raise RuntimeError('two\\nlines')", "1 / 0", "import sys; sys.exit(3)", "def broken(:", "import nothing_"]
)
def test_a_plug_in_that_cannot_be_imported(place, capfd, monkeypatch, body):
    monkeypatch.syspath_prepend(str(place))
    name = f"plugged_in_{abs(hash(body))}"
    (place / f"{name}.py").write_text(body + "\n")
    line = refuse(train_command("tiny", "new", model=f"{name}:Score"), capfd)
    assert f"--model {name}:Score: cannot be imported (" in line
    assert not (place / "new").exists()


@pytest.mark.parametrize(
    ("text", "culprit"),
    [
        ("dim: 8\nleraning_rate: 1\n", r"bad\.yaml:2: leraning_rate: unknown option"),
        ("# a comment\n\ndim: many\n", r"bad\.yaml:3: dim: .*integer.*'many'"),
        ("dim: true\n", r"bad\.yaml:1: dim: needs a number or text, not true/false"),
        ("seed: 0\nmodel: 3\n", r"bad\.yaml:2: model: .*string.*3"),
        ("model_options: [1]\n", r"bad\.yaml:1: model_options: .*dict"),
        ("dim: 8\nseed: 1\ndim: 9\n", r"bad\.yaml:3: dim: given twice"),
        ("steps:\n", r"bad\.yaml:1: steps: .*None"),
        ("- dim\n", r"--config bad\.yaml: not a mapping"),
        ("dim: [\n", r"--config bad\.yaml: not YAML"),
        ("num_negatives: 500\n", "--num-negatives 500 is larger than --pool-size 400"),
    ],
    ids=str,
)
def test_a_bad_configuration_file(place, capfd, text, culprit):
    (place / "bad.yaml").write_text(text)
    argv = ["train", "--dataset", "tiny", "--output", "new", "--config", "bad.yaml"]
    assert re.search(culprit, refuse(argv, capfd))
    assert not (place / "new").exists()


def test_a_configuration_file_that_is_not_utf8(place, capfd):
    (place / "bad.yaml").write_bytes(b"dataset: \xff\n")
    assert "--config bad.yaml: cannot be read" in refuse(["train", "--config", "bad.yaml"], capfd)


class Harmful:
    """Its pickle would make a file."""

    def __reduce__(self):
        return (open, ("harmed", "w"))


def keep_code_in_the_state(place):
    torch.save({"progress": Harmful()}, place / "run/state.pt")


RESUME = ["train", "--resume", "run"]


@pytest.mark.parametrize(
    ("change", "argv", "culprit"),
    [
        (None, ["train", "--resume", "tiny"], r"tiny: not a run folder \(no config\.yaml\)"),
        (None, ["train", "--resume", "nowhere"], "nowhere: not a run folder"),
        (None, [*RESUME, "--dim", "9"], "--dim: cannot change when a run is resumed"),
        (None, [*RESUME, "--model", "distmult"], "--model: cannot change when a run is resumed"),
        (None, [*RESUME, "--dataset", "tiny/.."], "--dataset: cannot change when a run is resumed"),
        (None, [*RESUME, "--output", "new"], "--output: cannot change when a run is resumed"),
        (None, [*RESUME, "--config", "run/config.yaml"], "--config: cannot be given with --resume"),
        (None, [*RESUME, "--preset", "published"], "--preset: cannot be given with --resume"),
        (None, [*RESUME, "--steps", "lots"], "--steps: .*'lots'"),
        (spoil("run/state.pt", None), RESUME, r"run/state\.pt: missing"),
        (spoil("run/state.pt", lambda old: old[: len(old) // 2]), RESUME, r"run/state\.pt: cannot be resumed from"),
        (spoil("run/state.pt", b""), RESUME, r"run/state\.pt: cannot be resumed from"),
        (spoil("run/state.pt", pickle.dumps(Harmful(), protocol=2)), RESUME, r"run/state\.pt: cannot be resumed from"),
        (keep_code_in_the_state, RESUME, r"run/state\.pt: cannot be resumed from"),
        (spoil("run/config.yaml", b"dim: x\n"), RESUME, r"run/config\.yaml:1: dim: "),
        (spoil("run/vocabulary.json", b"{"), RESUME, r"run/vocabulary\.json: not readable as JSON"),
        (rename_an_entity, RESUME, r"tiny.*vocabulary|run: was trained on other entity names"),
    ],
)
def test_resuming_what_cannot_be_resumed(place, capfd, change, argv, culprit):
    if change:
        change(place)
    before = contents(place / "run")
    line = refuse(argv, capfd)
    assert re.search(culprit, line)
    assert len(line) < 600
    assert contents(place / "run") == before
    assert not (place / "harmed").exists()
    assert not (place / "new").exists()


ASK = ["predict", "run", "--relation", "r0"]


@pytest.mark.parametrize(
    ("change", "argv", "culprit"),
    [
        (None, [*ASK, "--head", "Thing 999"], "--head Thing 999: unknown entity; did you mean 'Thing"),
        (None, [*ASK, "--tail", "xyzzy"], "--tail xyzzy: unknown entity; check the spelling"),
        (None, ["predict", "run", "--relation", "r9", "--head", "e00"], "--relation r9: unknown relation"),
        (None, [*ASK, "--head", "The Twin"], "--head The Twin: 2 share this label; give an id instead: e58, e59"),
        (None, [*ASK, "--head", "e00", "--tail", "e01"], "--head, --tail: give exactly one of them"),
        (None, ASK, "--head, --tail: give exactly one of them"),
        (None, [*ASK, "--head", "e00", "-k", "0"], "-k 0: ask for at least 1"),
        (None, [*ASK, "--head", "e00", "-k", "few"], "argument -k: invalid int value: 'few'"),
        (None, ["predict", "tiny", "--relation", "r0", "--head", "e00"], "tiny: not a run folder"),
        (None, ["evaluate", "nowhere"], "nowhere: not a run folder"),
        (None, ["evaluate", "run", "--split", "train"], "argument --split: invalid choice: 'train'"),
        (None, ["list", "colours"], "invalid choice: 'colours'"),
        (None, [], "arguments are required: COMMAND"),
        (rename_an_entity, [*ASK, "--head", "e00"], "run: was trained on other entity names than .*tiny has now"),
        (rename_an_entity, ["evaluate", "run"], "run: was trained on other entity names than .*tiny has now"),
        (spoil("run/model.safetensors", lambda old: old[:-9]), [*ASK, "--head", "e00"], r"run/model\.safetensors: "),
        (spoil("run/model.safetensors", b"x" * 99), ["evaluate", "run"], r"run/model\.safetensors: cannot be read"),
        (spoil("run/model.safetensors", None), ["evaluate", "run"], r"run/model\.safetensors: cannot be read"),
        (spoil("run/vocabulary.json", None), ["evaluate", "run"], r"run/vocabulary\.json: no such file"),
        (write("run/vocabulary.json", '{"entities": {}}'), ["evaluate", "run"], r"run/vocabulary\.json: lacks 'ids'"),
    ],
)
def test_asking_what_cannot_be_answered(place, capfd, change, argv, culprit):
    if change:
        change(place)
    before = contents(place / "run")
    assert re.search(culprit, refuse(argv, capfd))
    assert contents(place / "run") == before
