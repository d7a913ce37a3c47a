"""history.jsonl: the scalars of the events, whole lines only, and none twice after a kill."""

import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmrns.errors import UserError
from mmrns.training.history import History, read_history


def test_it_holds_what_the_events_hold(finished_run):
    events = EventAccumulator(str(finished_run / "tensorboard"))
    events.Reload()
    lines = read_history(finished_run / "history.jsonl")
    for tag in events.Tags()["scalars"]:
        written = {line["step"]: line[tag] for line in lines if tag in line}
        assert written == pytest.approx({event.step: event.value for event in events.Scalars(tag)}, rel=1e-6)
    assert [line["step"] for line in lines if "valid/mrr" in line] == [10, 20, 30]
    assert [line["step"] for line in lines if "train/loss" in line] == [5, 10, 15, 20, 25, 30]


def test_a_metric_that_is_no_number_is_left_out(tmp_path):
    file = tmp_path / "history.jsonl"
    with History(file, tmp_path / "events", 0) as history:
        history.add("valid", 5, {"mrr": 1.0, "amri": None, "norm": float("inf"), "other": float("nan")})
    assert read_history(file) == [{"step": 5, "valid/mrr": 1.0}]


def test_going_on_drops_what_came_after_the_saved_step(tmp_path):
    file = tmp_path / "history.jsonl"
    with History(file, tmp_path / "events", 0) as history:
        for step in (5, 10, 15):
            history.add("train", step, {"loss": step / 10})
    with file.open("a") as half:
        half.write('{"step": 20, "tra')
    with History(file, tmp_path / "events", 10) as history:
        assert [line["step"] for line in read_history(file)] == [5, 10]
        history.add("train", 15, {"loss": 7.0})
    assert read_history(file)[-1] == {"step": 15, "train/loss": 7.0}
    assert file.read_text().endswith("\n")


def test_a_reader_leaves_out_a_line_that_is_being_written_and_names_a_spoilt_one(tmp_path):
    file = tmp_path / "history.jsonl"
    assert read_history(file) == []
    file.write_text(json.dumps({"step": 1}) + "\n" + '{"step": 2')
    assert read_history(file) == [{"step": 1}]
    file.write_text('{"step": 1}\n{"step"\n{"step": 3}\n')
    with pytest.raises(UserError, match=r"history\.jsonl:2: not JSON"):
        read_history(file)


@pytest.mark.parametrize(
    "line", ["[]", "3", "null", "{}", '{"step": null}', '{"step": "2"}', '{"step": true}', '{"step": NaN}']
)
def test_a_reader_names_a_line_that_is_of_no_step(tmp_path, line):
    file = tmp_path / "history.jsonl"
    file.write_text('{"step": 1}\n' + line + "\n")
    with pytest.raises(UserError, match=r'history\.jsonl:2: needs an object with a number "step"; remove the line'):
        read_history(file)
