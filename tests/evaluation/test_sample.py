"""The sample of triples that a final evaluation ranks."""

import json

import numpy as np
import pandas as pd

from mmrns.cli import main
from mmrns.evaluation.sample import sampled_triples
from tests.tiny import train_command

TRIPLES = np.arange(60).reshape(20, 3)


def test_samples_are_distinct_rows_nested_and_everything_when_as_many_are_asked_for():
    few, more = sampled_triples(TRIPLES, 5), sampled_triples(TRIPLES, 9)
    assert len(np.unique(more, axis=0)) == 9
    assert (more[:5] == few).all()
    assert {tuple(row) for row in more} <= {tuple(row) for row in TRIPLES}
    assert (sampled_triples(TRIPLES, 5, seed=1) != few).any()
    for number in (0, 20, 30):
        assert sampled_triples(TRIPLES, number) is TRIPLES


def test_a_run_ranks_the_sample_says_so_and_the_ranks_are_those_of_the_whole(tiny_graph, tmp_path):
    for name, number in (("all", 0), ("some", 7)):
        assert main(train_command(tiny_graph, tmp_path / name, eval_queries=number)) == 0
    metrics = {name: json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("all", "some")}
    assert metrics["some"]["test"]["both"]["count"] == 14
    assert metrics["some"]["protocol"]["sample"] == {"triples": 7, "seed": 0, "of": {"valid": 30, "test": 30}}
    assert "sample" not in metrics["all"]["protocol"]
    every, some = (pd.read_parquet(tmp_path / name / "ranks.parquet") for name in ("all", "some"))
    merged = some.merge(every, on=["head", "relation", "tail", "direction"], suffixes=("", "_of_all"))
    assert len(merged) == 14
    assert (merged["rank"] == merged["rank_of_all"]).all()
