"""Files of options that extend others, and the published numbers beside them."""

import re

import pytest

from mmrns.config import Config, load_config
from mmrns.config_file import read_config_file
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
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, says):
    file = write(tmp_path, a=text, b="extends: a.yaml\n")
    with pytest.raises(UserError, match=says):
        load_config({}, file)
