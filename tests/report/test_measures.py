"""What a report measures: parts and their intervals, evidence on the sampler, examples; and its drawings."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from mmrns.experiments.bootstrap import Difference
from mmrns.explanation import Explainer
from mmrns.report import sampler_evidence
from mmrns.report.charts import dot_chart, line_chart
from mmrns.report.estimates import LEAST_FOR_INTERVAL, Estimate, estimates, hits_curve
from mmrns.report.examples import best_queries, query_examples, worst_queries
from mmrns.report.finished_run import read_run
from mmrns.report.sampler_evidence import measure_hardness, measure_relation_effect
from mmrns.report.svg import INK, SERIES, inline_svg, plain
from tests.report.conftest import HOSTILE

PARTS = {
    ("All", "all queries"): "both",
    ("Asked for", "tail: (h, r, ?)"): "tail",
    ("Asked for", "head: (?, r, t)"): "head",
    ("Relation category", "1-1"): "1-1",
    ("Relation category", "N-N"): "N-N",
    ("Entities in train", "both seen"): "seen",
    ("Entities in train", "one unseen"): "unseen",
    ("The answer's picture", "has one"): "has-image",
    ("The answer's text", "has none"): "no-text",
}


@pytest.fixture(scope="module")
def run(finished_run):
    return read_run(finished_run)


@pytest.fixture
def explainer(finished_run):
    return Explainer(finished_run)


def test_parts_are_those_of_metrics_json_and_make_a_whole(run):
    parts = {(part.group, part.name): part for part in estimates(run.ranks, run.values)}
    for key, name in PARTS.items():
        kept = run.metrics["test"][name]
        assert parts[key].count == kept["count"]
        assert all(e.value == pytest.approx(kept[metric], abs=1e-12) for metric, e in parts[key].metrics.items())
    for group in {group for group, _ in parts}:
        assert sum(part.count for part in parts.values() if part.group == group) == len(run.ranks)
    for part in parts.values():
        for e in part.metrics.values():
            assert (e.low is None) == (part.count < LEAST_FOR_INTERVAL)
            assert e.low is None or e.low <= e.value <= e.high


def test_hits_rise_to_all_of_them(run):
    ks, values = zip(*hits_curve(run.ranks), strict=True)
    assert list(ks) == sorted(set(ks)) and list(values) == sorted(values) and values[-1] == 1
    kept = run.metrics["test"]["both"]
    assert [values[ks.index(k)] for k in (1, 3, 10)] == pytest.approx([kept[f"hits@{k}"] for k in (1, 3, 10)])


def test_hardness_is_what_explain_says_of_each_question(explainer, monkeypatch):
    monkeypatch.setattr(sampler_evidence, "_QUESTIONS", 12)
    found = measure_hardness(explainer, seed=5)
    names, relations = explainer.dataset.entities.ids, explainer.dataset.relations.ids
    rows = np.random.default_rng(5).permutation(len(explainer.dataset.train))[:12]
    said = []
    for place, (head, relation, tail) in enumerate(explainer.dataset.train[rows]):
        side = "tail" if place < 6 else "head"
        explained = explainer.explain(names[head], relations[relation], names[tail], sides=(side,))
        said.append(explained.sides[0].sampling)
    assert found.questions == 12 and found.candidates == len(names)
    assert found.expected_score == pytest.approx(np.mean([s.expected_score for s in said]), abs=1e-5)
    assert found.uniform_score == pytest.approx(np.mean([s.uniform_score for s in said]), abs=1e-5)
    assert found.entropy == pytest.approx(np.mean([s.entropy for s in said]), abs=1e-5)
    assert found.held_out == pytest.approx(np.mean([s.held_out_mass for s in said]), abs=1e-6)
    assert found.by_question == pytest.approx([s.expected_score - s.uniform_score for s in said], abs=1e-5)
    assert found.difference.mean == pytest.approx(found.expected_score - found.uniform_score, abs=1e-6)


def test_a_share_of_the_candidates_says_the_same(explainer, monkeypatch):
    whole = measure_hardness(explainer)
    monkeypatch.setattr(sampler_evidence, "_CANDIDATES", 40)
    part = measure_hardness(explainer)
    assert part.candidates == 40 and part.entropy == pytest.approx(whole.entropy, abs=0.02)
    assert part.uniform_score == pytest.approx(whole.uniform_score, abs=0.5)
    assert 0 <= part.above_answer <= 1 and 0 <= part.uniform_above_answer <= 1


@pytest.mark.parametrize(
    ("difference", "effect", "begins"),
    [
        ((0.1, -0.1, 0.3), 0.5, "No: the sampler's negatives are not harder"),
        ((-0.2, -0.3, -0.1), -0.4, "No: the sampler's negatives are easier"),
        ((0.2, 0.1, 0.3), 0.05, "Measurably, but too little to matter"),
        ((0.2, 0.1, 0.3), 0.3, "Yes, a little"),
        ((0.2, 0.1, 0.3), 2.0, "Yes, much"),
    ],
)
def test_it_says_plainly_whether_negatives_are_harder(difference, effect, begins):
    assert sampler_evidence._hardness_verdict(Difference(*difference), effect).startswith(begins)


def test_without_gates_the_relation_changes_nothing(explainer):
    before = measure_relation_effect(explainer)
    assert all(moved > 0 for moved in before.shift.values())
    with torch.no_grad():
        for name, parameter in explainer.sampler.attention.named_parameters():
            if "gate" in name:
                parameter.zero_()
    after = measure_relation_effect(explainer)
    assert after.shift == pytest.approx(dict.fromkeys(before.shift, 0), abs=1e-7)
    assert after.initial_shift == before.initial_shift
    assert after.verdict.startswith("No, not to speak of")


def test_best_and_worst_queries(run, explainer):
    best, worst = best_queries(run.ranks), worst_queries(run.ranks)
    assert (best["rank"] == 1).all() and list(best["degree"]) == sorted(best["degree"])
    assert worst["rank"].iloc[0] == run.ranks["rank"].max()
    assert list(worst["rank"]) == sorted(worst["rank"], reverse=True)
    for chosen in (best, worst):
        assert chosen["relation"].value_counts().max() <= 2
        for example, (_, row) in zip(query_examples(chosen, explainer), chosen.iterrows(), strict=True):
            assert (example.rank, example.asks) == (row["rank"], row["direction"])
            asked = [answer.asked for answer in example.ranking]
            # The ranking shown is the one that the rank counts: filtered.
            assert asked.index(True) + 1 == example.rank if example.rank <= 3 else not any(asked)
            assert all(answer.known is None or answer.asked for answer in example.ranking)


def test_a_label_with_what_no_xml_holds_is_drawn_without_it():
    label = "a\x00b\ud800c\ufffed\uffffe"
    drawn = line_chart("odd", "t", {plain(label): ([1, 2], [0.1, 0.2]), "other": ([1, 2], [0.2, 0.1])}, "x").svg
    assert "abcde" in "".join(ET.fromstring(str(drawn)).itertext())


def test_drawings_take_the_page_s_colours_and_share_no_ids():
    series = {label: ([1, 2, 3], [0.1, 0.4, 0.2]) for label in HOSTILE}
    rows = [("group", label, 5, [Estimate(0.5, 0.4, 0.6)]) for label in HOSTILE]
    charts = [line_chart("one", "t", series, "x"), line_chart("two", "t", series, "x", log=True, percent=True),
              dot_chart("three", "t", rows, ["MRR"], "x")]  # fmt: skip
    seen = set()
    for chart in charts:
        root = ET.fromstring(str(chart.svg))
        assert all(colour not in chart.svg for colour in (INK, *SERIES)) and "var(--ink)" in chart.svg
        assert not any(element.tag.endswith(("style", "metadata", "script", "img")) for element in root.iter())
        ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
        assert len(ids) == len(set(ids)) and not seen & set(ids)
        seen |= set(ids)
        words = "".join(root.itertext())
        assert "<script>document.title" in words and "mathdefault" not in words
    assert line_chart("one", "t", series, "x").svg == charts[0].svg  # the same again
    assert len(charts[0].rows) == 3 and charts[1].rows[1][1] == "40.000%"


def test_a_picture_of_nothing_is_none():
    assert line_chart("one", "t", {"a": ([], [])}, "x") is None
    assert dot_chart("one", "t", [("g", "n", 0, [None])], ["MRR"], "x") is None
    assert "role" in inline_svg(Figure(), "empty", "nothing")
