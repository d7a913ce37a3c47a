"""Turns, ratios and records, with sides whose times are known."""

import json
import threading
import time

import pytest
import torch

from mmrns.benchmark import alternation, pykeen_peer, suites
from mmrns.benchmark.alternation import Side, Spread, alternate, peak_memory, ratios
from mmrns.benchmark.comparison import Comparison, add_to_record, behind, measure, read_record, recorded
from mmrns.benchmark.suites import Size
from mmrns.cli import main
from mmrns.errors import UserError
from mmrns.files import claimed
from tests.tiny import write_tiny_graph


class Sleeper(Side):
    """Sleeps, and writes its name down."""

    def __init__(self, name, seconds, log):
        self.name, self.seconds, self.log = name, seconds, log

    @property
    def work(self):
        return 10

    def prepare(self):
        def run():
            self.log.append(self.name)
            time.sleep(self.seconds)
            return {"asleep": 3 * self.seconds, "awake": self.seconds}

        return run


class Hoarder(Side):
    """Holds some MiB."""

    def __init__(self, size):
        self.size = size

    @property
    def work(self):
        return 1

    def prepare(self):
        return lambda: {"bytes": float(len(b"x" * (self.size << 20)))}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("benchmark", ["step", "evaluation", "extract"])
def test_a_gpu_that_is_not_there_is_not_measured(benchmark, capsys, tmp_path):
    assert main(["benchmark", benchmark, "--device", "cuda", "--record", str(tmp_path / "record.json")]) == 2
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith("--device cuda: no GPU is available here; use --device auto or cpu")
    )
    assert not list(tmp_path.iterdir())


def test_sides_take_turns_and_short_work_is_repeated_within_one(monkeypatch):
    monkeypatch.setattr(alternation, "_TURN_SECONDS", 0.0)
    log = []
    times = alternate({"a": Sleeper("a", 0.01, log), "b": Sleeper("b", 0.03, log)}, repetitions=3, warm_up=2)
    assert log == ["a", "b"] * 5
    assert [len(found.wall) for found in times.values()] == [3, 3]
    assert times["a"].shares() == pytest.approx({"asleep": 0.75, "awake": 0.25})
    assert min(times["a"].wall) >= 0.01 and min(times["b"].wall) >= 0.03
    assert min(times["b"].cpu) < 0.01

    monkeypatch.setattr(alternation, "_TURN_SECONDS", 100.0)
    log.clear()
    alternate({"a": Sleeper("a", 0.0, log)}, repetitions=1, warm_up=0)
    assert len(log) == alternation._TURN_MOST


def test_a_gpu_is_waited_for_between_phases_in_pieces_alone_that_are_not_timed(monkeypatch):
    waited = []
    monkeypatch.setattr(alternation, "_TURN_SECONDS", 0.0)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waited.append(len(pieces)))
    pieces = []

    class Phased(Sleeper):
        def prepare(self):
            def run():
                started = alternation.mark()
                pieces.append(time.sleep(0.001))
                return {"asleep": alternation.mark() - started}

            return run

    times = alternate({"a": Phased("a", 0, [])}, repetitions=2, warm_up=0)["a"]
    # Around each timed piece (the first and the third), and within the one after it.
    assert waited == [0, 1, 1, 2, 2, 3, 3, 4]
    assert len(times.wall) == 2 and times.phases["asleep"] > 0.002


def test_the_spread_of_numbers():
    assert Spread.of([3.0, 1.0, 8.0]) == Spread(3.0, 1.0, 8.0)
    assert ratios([2.0, 9.0], [1.0, 3.0]) == Spread(2.5, 2.0, 3.0)


def test_peak_memory_is_that_of_the_side_alone():
    empty, full = (peak_memory(Hoarder(megabytes), threads=1) for megabytes in (0, 400))
    assert 350 < full - empty < 450


def entry_of(low, high, cpu=None, name="step", dataset="x"):
    def spread(bounds):
        return {"median": sum(bounds) / 2, "low": bounds[0], "high": bounds[1]}

    ratio = {"wall": spread((low, high)), "cpu": spread(cpu or (low, high))}
    return {
        "benchmark": name,
        "settings": {"dataset": dataset},
        "comparisons": [{"title": "T", "ratios": {"rival": ratio}}],
    }


def test_a_record_keeps_one_entry_for_each_benchmark_and_setting(tmp_path):
    path = tmp_path / "results" / "performance.json"
    for entry in (entry_of(1, 2), entry_of(3, 4), entry_of(1, 2, dataset="y"), entry_of(1, 2, name="evaluation")):
        add_to_record(path, entry)
    found = read_record(path)
    assert [(e["benchmark"], e["settings"]["dataset"]) for e in found] == [
        ("evaluation", "x"), ("step", "x"), ("step", "y"),
    ]  # fmt: skip
    assert found[1]["comparisons"][0]["ratios"]["rival"]["wall"]["low"] == 3


def test_falling_behind_is_told_from_noise():
    then = entry_of(10, 14)
    assert behind(then, entry_of(7, 9), 0.25) == []
    (line,) = behind(then, entry_of(5, 7.9), 0.25)
    assert line == "T: rival takes 6.45 times as long as ours; it was 12.00"
    assert behind(then, entry_of(5, 7.9, cpu=(10, 12)), 0.25) == []
    assert behind(then, entry_of(20, 30), 0.25) == []


def test_what_is_not_measured_has_not_passed():
    then, now = entry_of(10, 14), entry_of(10, 14)
    now["comparisons"][0]["ratios"] = {"another": {}}
    (line,) = behind(then, now, 0.25)
    assert line == "T: rival was not measured now; it was 12.00 times as long as ours"
    (line,) = behind(then, now, 0.25, {"rival": "Rival is not installed"})
    assert line == "T: rival was not measured now (Rival is not installed); it was 12.00 times as long as ours"
    now = entry_of(1, 1)
    now["comparisons"][0]["title"] = "T, reworded"
    assert len(behind(then, now, 0.25)) == 1
    assert behind(then | {"comparisons": []}, now, 0.25) == []  # what is new has nothing to fall from


def test_a_record_is_written_by_one_process_at_a_time(tmp_path):
    path = tmp_path / "performance.json"
    add_to_record(path, entry_of(1, 2))
    writer = threading.Thread(target=add_to_record, args=(path, entry_of(3, 4, dataset="y")))
    with claimed(path):
        writer.start()
        writer.join(0.3)
        assert writer.is_alive() and len(read_record(path)) == 1
    writer.join(30)
    assert [entry["settings"]["dataset"] for entry in read_record(path)] == ["x", "y"]
    assert list(tmp_path.iterdir()) == [path]


def test_figures_are_compared_with_those_of_equal_settings(tmp_path):
    path = tmp_path / "record.json"
    add_to_record(path, entry_of(10, 14))
    assert recorded(path, "step", {"dataset": "x"}) == entry_of(10, 14)
    with pytest.raises(UserError, match=r"record.json: holds no figures with these settings; run once with --record"):
        recorded(path, "step", {"dataset": "other"})


@pytest.mark.parametrize("text", ["[1]", "{}", "not JSON"])
def test_what_is_no_record_is_named(tmp_path, text):
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"record\.json"):
        read_record(path)


def test_checks_become_notes(monkeypatch):
    monkeypatch.setattr(alternation, "_TURN_SECONDS", 0.0)
    sides = {"ours": Sleeper("ours", 0.001, []), "theirs": Sleeper("theirs", 0.004, [])}
    told = []
    part = Comparison("T", "triples", sides, notes=("slowly",), check=lambda: "equal")
    (found,) = measure("step", {}, [part], 2, 1, told.append)["comparisons"]
    assert told == ["T"] and found["notes"] == ["slowly", "equal"] and found["ours"] == "ours"
    assert list(found["ratios"]) == ["theirs"]
    side = found["sides"]["ours"]
    assert side["triples_per_second"] == pytest.approx(10 / side["seconds"]["median"])


@pytest.fixture
def tiny_size(tmp_path, monkeypatch):
    """The small size is a tiny graph, no process is started for memory, and short work is done once a turn."""
    folder = write_tiny_graph(tmp_path / "graph")
    monkeypatch.setitem(suites.SIZES, "small", Size(str(folder), 16, 4, 30, (20,), (8,), ("rotate",), 5))
    monkeypatch.setattr(suites, "_WIDTH", 4)
    monkeypatch.setattr(alternation, "_TURN_SECONDS", 0.0)
    monkeypatch.setattr("mmrns.benchmark.comparison.peak_memory", lambda side, threads: 123.0)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize("benchmark", ["step", "evaluation"])
def test_the_command_prints_records_and_guards(benchmark, tiny_size, capsys, tmp_path):
    command = ["benchmark", benchmark, "--threads", "1", "--repetitions", "2"]
    assert main([*command, "--against"]) == 2
    assert "results/performance.json: holds no figures with these settings" in capsys.readouterr().err
    assert main([*command, "--record", "--json"]) == 0
    entry = json.loads(capsys.readouterr().out)
    assert entry["settings"] == {"size": "small", "dataset": "graph", "threads": 1}
    assert read_record(tmp_path / "results" / "performance.json") == [entry]
    page = (tmp_path / "results" / "performance.md").read_text()
    assert all(part["title"] in page for part in entry["comparisons"]) and "123" in page

    for part in entry["comparisons"]:
        for ratio in part["ratios"].values():
            for kind in ("wall", "cpu"):
                ratio[kind] = {"median": 1e6, "low": 1e6, "high": 1e6}
    add_to_record(tmp_path / "results" / "performance.json", entry)
    with pytest.raises(SystemExit) as left:
        main([*command, "--against"])
    assert left.value.code == 1
    captured = capsys.readouterr()
    assert "behind the record: " in captured.err and "times ours" in captured.out

    kept = {path: path.read_bytes() for path in (tmp_path / "results").iterdir()}
    with pytest.raises(SystemExit):
        main([*command, "--against", "--record"])
    assert {path: path.read_bytes() for path in (tmp_path / "results").iterdir()} == kept
    assert capsys.readouterr().err.splitlines()[-1] == (
        "results/performance.json: left as it was; to record these figures, run without --against"
    )


def test_without_pykeen_there_is_one_line_and_the_rest(tiny_size, capsys, monkeypatch):
    monkeypatch.setattr(pykeen_peer, "available", lambda: False)
    assert main(["benchmark", "evaluation", "--threads", "1", "--repetitions", "1"]) == 0
    captured = capsys.readouterr()
    assert captured.err.splitlines()[0] == (
        "PyKEEN is not installed, so there is no comparison with it; to have one: pip install pykeen"
    )
    assert "naive" in captured.out and "| pykeen" not in captured.out


@pytest.mark.skipif(not pykeen_peer.available(), reason="PyKEEN is not installed")
def test_the_guard_does_not_pass_over_pykeen_where_it_is_not_installed(tiny_size, capsys, monkeypatch):
    command = ["benchmark", "evaluation", "--threads", "1", "--repetitions", "1"]
    assert main([*command, "--record"]) == 0
    monkeypatch.setattr(pykeen_peer, "available", lambda: False)
    with pytest.raises(SystemExit) as left:
        main([*command, "--against", "--tolerance", "1000"])
    assert left.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("behind the record")]
    assert "pykeen was not measured now (PyKEEN is not installed)" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["step", "--repetitions", "0"], "--repetitions: 0: must be a whole number, 1 or more"),
        (["step", "--threads", "two"], "--threads: two: must be a whole number, 1 or more"),
        (["evaluation", "--dataset", "nowhere"], "--dataset nowhere: no such dataset"),
        (["nothing"], "invalid choice: 'nothing'"),
    ],
)
def test_bad_flags_are_one_line(arguments, message, capsys):
    try:
        status = main(["benchmark", *arguments])
    except SystemExit as left:
        status = left.code
    error = capsys.readouterr().err
    assert status == 2 and message in error and error.count("\n") == 1


def test_a_further_table_is_of_the_same_turns():
    sides = {name: Sleeper(name, seconds, []) for name, seconds in (("a", 0.004), ("b", 0.002), ("c", 0.008))}
    comparison = Comparison("T", "pieces", sides, also={"T, b": ("b", "c")})
    first, further = measure("step", {}, [comparison], 1, 1)["comparisons"]
    assert (first["title"], first["ours"], list(first["ratios"])) == ("T", "a", ["b", "c"])
    assert (further["title"], further["ours"], list(further["ratios"])) == ("T, b", "b", ["c"])
    assert further["sides"] == {name: first["sides"][name] for name in ("b", "c")}
    ratio = first["sides"]["c"]["seconds"]["median"] / first["sides"]["b"]["seconds"]["median"]
    assert further["ratios"]["c"]["wall"]["median"] == pytest.approx(ratio)
