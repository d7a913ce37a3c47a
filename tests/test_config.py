"""Options: one definition for flags, YAML and help."""

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mmrns.cli import build_parser, main
from mmrns.config import Config, flag, options_by_section
from mmrns.config_io import dump_config, load_config
from mmrns.errors import UserError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=40)
@example(
    dataset="a\x85 b\u2028",
    model_options={"\u2029": "\x85"},
    gamma=1.0,
    learning_rate=1e-5,
    seed=0,
    subsampling=True,
    modalities="text",
)
@given(
    dataset=st.text(st.characters(exclude_categories=["Cs"])),
    model_options=st.dictionaries(st.text(), JSON, max_size=3),
    gamma=st.floats(min_value=1e-300, allow_nan=False, allow_infinity=False),
    learning_rate=st.floats(min_value=1e-12, max_value=1e6),
    seed=st.integers(0, 2**32 - 1),
    subsampling=st.booleans(),
    modalities=st.permutations(["image", "text", "structure"]).map(",".join),
)
def test_yaml_round_trip(tmp_path_factory, **values):
    config = Config(**values)
    file = tmp_path_factory.getbasetemp() / "round-trip.yaml"
    file.write_text(dump_config(config), encoding="utf-8")
    assert load_config({}, file) == config


def test_the_dump_holds_every_option_in_order():
    assert list(yaml.safe_load(dump_config(Config()))) == list(Config.model_fields)


def test_flags_win_over_yaml_and_yaml_over_defaults(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("dim: 7\nlearning_rate: 1e-2\nsubsampling: false\n")
    config = load_config({"dim": "9"}, file)
    assert (config.dim, config.learning_rate, config.subsampling) == (9, 0.01, False)
    assert config.gamma == Config().gamma


@pytest.mark.parametrize("name", ["held_out", "gamma", "contrastive_weight"])
@pytest.mark.parametrize("value", ["inf", "nan"])
def test_numbers_that_are_not_finite_are_refused(name, value):
    with pytest.raises(UserError, match=rf"^{flag(name)}: input should be a finite number, not '{value}'$"):
        load_config({name: value})


def test_an_empty_file_changes_nothing(tmp_path):
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    assert load_config({}, tmp_path / "empty.yaml") == Config()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("learning_rate", "1e-3", 0.001),
        ("subsampling", "false", False),
        ("sampler_detach", "true", True),
        ("dim", "12", 12),
        ("model_options", '{"p": 2}', {"p": 2}),
        ("modalities", " text , image ", "text,image"),
    ],
)
def test_text_of_a_flag_becomes_the_option_s_type(name, text, value):
    found = getattr(load_config({name: text}), name)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("name", ["dim", "learning_rate", "seed", "model", "model_options"])
@pytest.mark.parametrize("value", [True, False])
def test_true_and_false_are_no_numbers_nor_names(name, value):
    with pytest.raises(UserError, match=rf"^{flag(name)}: needs a number or text, not true/false"):
        load_config({name: value})


@pytest.mark.parametrize("value", ["1.5", "", "1e3", "ten", [1], None])
def test_what_is_not_a_whole_number_is_refused(value):
    with pytest.raises(UserError, match=r"^--steps: "):
        load_config({"steps": value})


@pytest.mark.parametrize("text", ["[1]", '"x"', "3", "null", "{"])
def test_options_of_a_plug_in_must_be_an_object(text):
    with pytest.raises(UserError, match=r"^--model-options: "):
        load_config({"model_options": text})


@pytest.mark.parametrize("text", ["", ",", "image,image", "image,sound"])
def test_modalities_are_known_and_named_once(text):
    with pytest.raises(UserError, match=r"^--modalities: write some of"):
        load_config({"modalities": text})


def test_a_configuration_does_not_change():
    with pytest.raises(ValidationError):
        Config().dim = 3


def test_every_option_has_an_explanation_and_stands_in_one_section():
    sections = options_by_section()
    assert [name for options in sections.values() for name in options] == list(Config.model_fields)
    assert all(len(option.description) > 10 for options in sections.values() for option in options.values())


def test_every_option_is_a_flag_of_train_and_reaches_the_configuration():
    # The published protocol stops at no validation, so --patience has its turn alone.
    other = {"dataset": "d", "modalities": "text", "validation": "published", "patience": "0"}
    assert load_config({"patience": build_parser().parse_args(["train", "--patience", "7"]).patience}).patience == 7
    given = []
    for name, option in Config.model_fields.items():
        value = '{"p": 2}' if option.default == {} else other.get(name)
        if value is None:
            choices = getattr(option.annotation, "__args__", None)
            if choices:
                value = choices[-1]
            elif option.annotation is bool:
                value = str(not option.default).lower()
            else:
                value = {int: str(401), float: "0.125", str: "some:Thing"}[option.annotation]
        given += [flag(name), value]
    arguments = vars(build_parser().parse_args(["train", *given]))
    config = load_config({name: arguments[name] for name in Config.model_fields})
    kept = [name for name, option in Config.model_fields.items() if getattr(config, name) == option.default]
    assert kept == ["patience"]


def test_options_that_are_not_given_stay_out_of_the_namespace():
    arguments = vars(build_parser().parse_args(["train", "--dim", "3"]))
    assert set(arguments) & set(Config.model_fields) == {"dim"}


def test_help_names_every_flag_section_and_default(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    for section, options in options_by_section().items():
        assert f"\n{section}:\n" in shown
        for name, option in options.items():
            assert f"\n  {flag(name)} VALUE" in shown
            if option.default not in ("", {}):
                assert f"(default: {option.default})" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("values", "folder"),
    [
        ({"output": "x/y"}, "x/y"),
        ({"dataset": "some/where/graph", "seed": 3}, "checkpoints/graph-rotate-mmrns-3"),
        ({"dataset": "g", "model": "my.code:Score", "sampler": "uniform"}, "checkpoints/g-my.code.Score-uniform-0"),
    ],
)
def test_where_a_run_is_kept(values, folder):
    assert str(Config(**values).run_folder) == folder


def test_a_dataset_that_is_the_current_folder_gives_the_run_its_name(tmp_path, monkeypatch):
    (tmp_path / "graph").mkdir()
    monkeypatch.chdir(tmp_path / "graph")
    assert str(Config(dataset=".").run_folder) == "checkpoints/graph-rotate-mmrns-0"


@pytest.mark.parametrize("option", ["label_smoothing", "sampled_weight", "relation_prediction"])
def test_what_belongs_to_all_entities_is_not_taken_in_silence_beside_sampled_negatives(option):
    with pytest.raises(UserError, match=rf"{flag(option)} 0\.5: belongs to --objective 1vsall and kvsall"):
        load_config({option: "0.5"})
    assert getattr(load_config({option: "0.5", "objective": "kvsall"}), option) == 0.5
