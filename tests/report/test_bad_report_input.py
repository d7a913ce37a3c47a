"""Runs that no page can be made of: one line each, and nothing written."""

import json
import re

import pandas as pd
import pytest

from mmrns.report.page import GENERATOR, write_page
from tests.commands.refusing import refuse


def no_metrics(run):
    (run / "metrics.json").unlink()


def broken_metrics(run):
    (run / "metrics.json").write_text("{")


def half_metrics(run):
    (run / "metrics.json").write_text(json.dumps({"valid": {}, "test": {}}))


def no_ranks(run):
    (run / "ranks.parquet").unlink()


def ranks_of_noise(run):
    (run / "ranks.parquet").write_bytes(b"noise")


def ranks_without_a_column(run):
    pd.read_parquet(run / "ranks.parquet").drop(columns="degree").to_parquet(run / "ranks.parquet")


def ranks_of_heads_alone(run):
    table = pd.read_parquet(run / "ranks.parquet")
    table[table["direction"] == "head"].to_parquet(run / "ranks.parquet")


def ranks_of_another_model(run):
    table = pd.read_parquet(run / "ranks.parquet")
    table.assign(rank=table["rank"] + 1).to_parquet(run / "ranks.parquet")


def broken_history(run):
    (run / "history.jsonl").write_text('{"step": 1}\nnoise\n')


def history_without_a_step(run):
    (run / "history.jsonl").write_text('{"step": "many", "train/loss": 1.0}\n')


def an_ensemble(run):
    metrics = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps(metrics | {"members": [{"run": "../member", "weight": 1.0}]}))
    (run / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("spoil", "culprit"),
    [
        (no_metrics, r"run: has not ended \(no metrics.json; its log ends at step 30\)"),
        (broken_metrics, "metrics.json: not readable as JSON"),
        (half_metrics, "metrics.json: is not a whole metrics.json"),
        (no_ranks, "ranks.parquet: cannot be read"),
        (ranks_of_noise, "ranks.parquet: cannot be read"),
        (ranks_without_a_column, "ranks.parquet: has no column degree"),
        (ranks_of_heads_alone, "ranks.parquet: does not hold both queries"),
        (ranks_of_another_model, "ranks.parquet: is not of the same ranking as metrics.json"),
        (broken_history, "history.jsonl:2: not JSON"),
        (history_without_a_step, 'history.jsonl:1: needs an object with a number "step"'),
        (an_ensemble, "run: an ensemble, which mmrns predict alone takes; give a member, .*member"),
    ],
)
def test_a_run_that_is_going_on_or_broken(spoilt, capfd, spoil, culprit):
    spoil(spoilt)
    line = refuse(["report", str(spoilt)], capfd)
    assert re.search(culprit, line), line
    assert not (spoilt / "report.html").exists()


def test_not_a_run(tmp_path, capfd):
    assert "not a run folder" in refuse(["report", str(tmp_path)], capfd)
    assert "not a run folder" in refuse(["report", str(tmp_path / "nowhere")], capfd)


def test_what_is_there_already_is_kept(spoilt, tmp_path, capfd):
    mine = tmp_path / "notes.html"
    mine.write_text("mine")
    assert "was not made by mmrns report" in refuse(["report", str(spoilt), "--output", str(mine)], capfd)
    assert mine.read_text() == "mine"
    assert "is a folder" in refuse(["report", str(spoilt), "--output", str(tmp_path)], capfd)
    ours = tmp_path / "page.html"
    for text in ("one", "two"):
        page = f'<!doctype html><meta name="generator" content="{GENERATOR} 1">{text}'
        write_page(page, ours)
        assert ours.read_text() == page


def test_an_ensemble_is_no_seed_beside_a_run(spoilt, finished_run, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    an_ensemble(spoilt)
    assert f"{spoilt}: an ensemble" in refuse(["report", str(finished_run), str(spoilt)], capfd)
    assert not (tmp_path / "report.html").exists()


def test_runs_that_cannot_be_compared(spoilt, finished_run, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "given twice" in refuse(["report", str(finished_run), str(finished_run)], capfd)
    table = pd.read_parquet(spoilt / "ranks.parquet")
    table.assign(relation="r9").to_parquet(spoilt / "ranks.parquet")
    assert "ranks other test queries" in refuse(["report", str(finished_run), str(spoilt)], capfd)
    assert not (tmp_path / "report.html").exists()
