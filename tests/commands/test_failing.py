"""What goes wrong along the way: a loss that diverges, a full disk, an interruption; what is sound stays."""

import re

import pytest
import torch

from mmrns import load
from mmrns.cli import main
from mmrns.features import FeatureStore
from mmrns.graph.dataset import load_dataset
from tests.commands.refusing import contents, refuse
from tests.tiny import tiny_features, train_command
from tests.training import stopped


def last_line(path):
    """The last line of a run's standard error; the bar's own line ends before it."""
    text = path.read_text()
    assert "Traceback" not in text
    assert text.count("mmrns train: ") == 1
    line = text.splitlines()[-1]
    assert line.startswith("mmrns train: ")
    return line


@pytest.mark.parametrize("sampler", ["uniform", "mmrns"])
@pytest.mark.parametrize("log_every", [1, 50])
def test_a_loss_that_is_not_finite_fails_loudly_and_keeps_the_last_sound_state(place, capfd, sampler, log_every):
    argv = train_command(
        "tiny", "new", sampler, model="distmult", learning_rate=1e30, log_every=log_every, checkpoint_every=1
    )
    assert main(argv) == 2
    (place / "err").write_text(capfd.readouterr().err)
    found = re.search(r"the loss is not a finite number at step (\d+); lower --learning-rate", last_line(place / "err"))
    state = torch.load(place / "new/state.pt", weights_only=True)
    assert state["progress"]["step"] == int(found[1]) - 1
    assert not (place / "new/metrics.json").exists()
    load(place / "new")


# What is written from then on, and a size that the first files fit into and the next does not.
@pytest.mark.parametrize(
    ("what", "size", "culprit"),
    [
        pytest.param("claim", 700, r"new/config\.yaml", marks=pytest.mark.slow),
        pytest.param("claim", 4000, r"new/model\.safetensors", marks=pytest.mark.slow),
        ("claim", 40_000, r"new/state\.pt"),
        ("validation", 4000, r"new/model\.safetensors"),
        pytest.param("validation", 30_000, r"new/state\.pt", marks=pytest.mark.slow),
        pytest.param("last evaluation", 4000, r"new/ranks-valid\.parquet", marks=pytest.mark.slow),
        ("metrics", 4000, r"new/metrics\.json"),
    ],
)
def test_a_full_disk_is_named_and_the_last_checkpoint_stays(place, what, size, culprit):
    argv = train_command("tiny", "new", "mmrns", dim=16, log_every=50)
    assert stopped.run(argv, place / "err", "no room", what, size) == 2
    assert re.search(rf"{culprit}: cannot be written \(.*File too large.*\); free some room", last_line(place / "err"))
    assert not [path for path in (place / "new").iterdir() if path.name.startswith(".")]
    assert not (place / "new/metrics.json").exists()
    if what != "claim":
        load(place / "new")
    if (place / "new/config.yaml").exists():
        assert main(["train", "--resume", "new"]) == 0
        assert (place / "new/metrics.json").exists()


def test_a_full_disk_keeps_the_features_that_were_there(place):
    dataset = load_dataset(place / "tiny")
    before = contents(place / "tiny")
    code = stopped.call(write_too_much, place / "tiny", place / "err")
    assert code == 2
    assert re.search(r"features\.safetensors: cannot be written \(.*File too large", (place / "err").read_text())
    assert contents(place / "tiny") == before
    assert FeatureStore.open(dataset).shape("image") == (2, 5)


def write_too_much(folder):
    """Runs in a process of its own."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    FeatureStore.write(load_dataset(folder), tiny_features(seed=1))


def test_an_interruption_outside_of_training_is_one_line_too(monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("mmrns.commands.list_.run", interrupted)
    assert main(["list", "models"]) == 130
    assert capsys.readouterr().err == "\nmmrns list: interrupted\n"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("file/x", "Not a directory"),
        ("folder", "Is a directory"),
        ("loop", "Too many levels of symbolic links"),
        ("data:" + 5000 * "A", "File name too long"),
    ],
)
def test_a_path_that_can_be_no_file_is_one_line(tmp_path, monkeypatch, capfd, name, reason):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.setattr("mmrns.commands.list_.run", lambda _: (tmp_path / name).write_text(""))
    line = refuse(["list", "models"], capfd)
    assert line.startswith(f"mmrns list: {tmp_path}/") and line.endswith(f": {reason}; give another path")
    assert len(line) < 400


def test_a_file_where_a_folder_is_to_be_is_one_line(tmp_path, monkeypatch, capfd):
    (tmp_path / "file").touch()
    monkeypatch.setattr("mmrns.commands.list_.run", lambda _: (tmp_path / "file").mkdir(exist_ok=True))
    assert refuse(["list", "models"], capfd) == f"mmrns list: {tmp_path}/file: File exists; give another path"
