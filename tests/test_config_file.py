"""Files of options that extend others, and the published numbers beside them."""

import re

import pytest

from mmrns.config import Config
from mmrns.config_file import read_config_file
from mmrns.config_io import load_config
from mmrns.errors import UserError


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / "a.yaml"


def test_a_file_takes_over_what_it_extends_and_has_the_last_word(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below/c.yaml").write_text("extends: ../d.yaml\ngamma: 3.0\nseed: 3\n")
    file = write(
        tmp_path,
        a="extends: [b.yaml, below/c.yaml]\nseed: 1\n",
        b="dim: 2\ngamma: 2.0\nseed: 2\n",
        d="dim: 4\nsteps: 4\ngamma: 4.0\n",
    )
    config = load_config({}, file)
    assert (config.seed, config.gamma, config.dim, config.steps) == (1, 3.0, 4, 4)
    assert config == Config(seed=1, gamma=3.0, dim=4, steps=4)


def test_what_yaml_merges_is_not_taken_for_a_key_given_twice(tmp_path):
    text = "published: &other {method: RotatE, dim: 2}\nmodel_options: {<<: *other, dim: 3}\nseed: 1\n"
    file = write(tmp_path, a=text)
    assert read_config_file(file).values == {"model_options": {"method": "RotatE", "dim": 3}, "seed": 1}
    file.write_text("published: &other {seed: 2, dim: 2}\n<<: *other\nseed: 1\n")
    read = read_config_file(file)
    assert read.values == {"seed": 1, "dim": 2}
    assert read.places == {"seed": f"{file}:3", "dim": f"{file}:2"}


def test_a_bad_value_is_named_where_it_stands(tmp_path):
    file = write(tmp_path, a="extends: b.yaml\nseed: 1\n", b="# a comment\n\ndim: -2\n")
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / 'b.yaml'}:3: dim: ")):
        load_config({}, file)


def test_published_numbers_are_no_options_and_stay_with_their_file(tmp_path):
    file = write(tmp_path, a="extends: b.yaml\n", b="dim: 3\npublished: {method: RotatE, mrr: 35.0}\n")
    assert load_config({}, file) == Config(dim=3)
    assert read_config_file(file).published == {}
    assert read_config_file(tmp_path / "b.yaml").published == {"method": "RotatE", "mrr": 35.0}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("extends: c.yaml\n", r"a\.yaml:1: extends c\.yaml: no such file"),
        ("dim: 1\nextends: a.yaml\n", r"a\.yaml:2: extends a\.yaml: leads back to itself"),
        ("extends: b.yaml\n", r"b\.yaml:1: extends a\.yaml: leads back to itself"),
        ("extends: {b: 1}\n", r"a\.yaml:1: extends: needs a file name or a list"),
        ("extends: [1]\n", r"a\.yaml:1: extends: needs a file name or a list"),
        ("published: 35\n", r"a\.yaml:1: published: needs a mapping"),
        ("extends: b.yaml\nextends: b.yaml\n", r"a\.yaml:2: extends: given twice"),
        ("extended: b.yaml\n", r"a\.yaml:1: extended: unknown option"),
        ("output: 2024-30-01\n", r"a\.yaml: holds a value that cannot be \(.*month.*\); put it in quotes"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, says):
    file = write(tmp_path, a=text, b="extends: a.yaml\n")
    with pytest.raises(UserError, match=says):
        load_config({}, file)


def test_a_preset_wins_over_the_file_and_loses_to_flags(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("gamma: 3\npool_size: 77\nseed: 5\n")
    config = load_config({"dim": 9}, file, "published")
    assert (config.dim, config.gamma, config.pool_size, config.seed) == (9, 6.0, 1500, 5)


def test_a_preset_may_stand_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "configs/presets").mkdir(parents=True)
    (tmp_path / "configs/presets/mine.yaml").write_text("dim: 11\n")
    (tmp_path / "configs/presets/published.yaml").write_text("dim: 12\n")
    monkeypatch.chdir(tmp_path)
    assert load_config({}, None, "mine").dim == 11
    assert load_config({}, None, "published").dim == 12


def test_an_unknown_preset_is_told_in_one_line():
    with pytest.raises(UserError, match=r"^--preset none: unknown; choose one of .*published.*--config FILE$"):
        load_config({}, None, "none")


def test_a_bad_option_of_a_preset_names_its_line(tmp_path, monkeypatch):
    (tmp_path / "configs/presets").mkdir(parents=True)
    (tmp_path / "configs/presets/mine.yaml").write_text("seed: 1\ndims: 11\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"presets/mine\.yaml:2: dims: unknown option"):
        load_config({}, None, "mine")


def test_the_published_preset_is_the_method_without_additions():
    """Options of the command that the method page gives, and the additions of this project left out."""
    config = load_config({}, None, "published")
    command = {
        "num_negatives": 20, "dim": 200, "gamma": 6.0, "adversarial_temperature": 0.5, "learning_rate": 1e-4,
        "pool_size": 1500, "contrastive_weight": 0.01, "exploration": 10.0, "gumbel_temperature": 1.0,
        "batch_size": 400, "steps": 100_000, "attention_width": 50,
    }  # fmt: skip
    assert {name: getattr(config, name) for name in command} == command
    assert (config.entropy_target, config.uniform_share, config.uniform_warmup, config.guard) == (0, 0, 0, "none")
    assert (config.similarity, config.sampler_gradient, config.sampler_detach) == ("cosine", "cooperative", False)
    assert (config.contrastive_warmup, config.contrastive_loss, config.importance_correction) == (0, "ratio", 0)
