"""Files of facts, read back by strict readers."""

import csv
import re
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from mmrns.cli import main
from mmrns.inference.facts_file import SCHEMA
from tests.inference.runs import untrained_run, write_graph

HAND_SET = {
    # Ids that every format must carry: IRIs, blanks, quotes, non-ASCII, percent signs; labels that break lines.
    "ids": ["<http://kg.org/A_(b)>", "http://kg.org/é", 'say "hi" \\', "100%", "ö b", "plain", "https://bad iri", "#7"],
    "labels": {"plain": "a\tlabel\r\nof two lines", "100%": 'quo"ted', "#7": "日本"},
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A run over a graph whose names no format may mangle."""
    folder = tmp_path_factory.mktemp("odd names")
    ids = HAND_SET["ids"]
    relations = ["http://kg.org/p#1", "is <a>"]
    rng = np.random.default_rng(1)
    every = [(h, r, t) for h in ids for r in relations for t in ids]
    chosen = [every[i] for i in rng.permutation(len(every))[:80]]
    splits = {"train": chosen[:50], "valid": chosen[50:65], "test": chosen[65:]}
    records = [{"id": i, "label": HAND_SET["labels"].get(i, i)} for i in ids]
    write_graph(folder / "my graph", splits, records)
    untrained_run(folder / "run", folder / "my graph")
    return folder


def completed(odd, output):
    assert main(["predict", str(odd / "run"), "--all", "--top", "25", "--output", str(output)]) == 0
    return output


def test_parquet_holds_the_schema_and_the_names(odd, tmp_path):
    table = pq.read_table(completed(odd, tmp_path / "facts.parquet"))
    assert table.schema.equals(SCHEMA)
    rows = table.to_pylist()
    assert {row["head"] for row in rows} <= set(HAND_SET["ids"])
    for row in rows:
        assert row["head_label"] == HAND_SET["labels"].get(row["head"], row["head"])
        assert row["asked"] in ("head", "tail")
    assert len(rows) == 25


def test_tsv_has_a_line_a_fact_and_its_first_columns_are_a_datasets(odd, tmp_path):
    table = pd.read_parquet(completed(odd, tmp_path / "facts.parquet"))
    text = completed(odd, tmp_path / "facts.tsv").read_bytes().decode("utf-8")
    header, *lines = text.removesuffix("\n").split("\n")
    assert header.split("\t") == SCHEMA.names
    rows = list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [row[:3] for row in rows] == table[["head", "relation", "tail"]].values.tolist()
    assert {len(row) for row in rows} == {len(SCHEMA)}
    assert "a label of two lines" in {row[3] for row in rows} | {row[5] for row in rows}
    np.testing.assert_allclose([float(row[8]) for row in rows], table["probability"], rtol=1e-5)


# RDF 1.1 N-Triples, W3C Recommendation: IRIREF has no blanks, controls, <>"{}|^` or backslash; an EOL is [\r\n]+.
_IRI = r"<([A-Za-z][A-Za-z0-9+.-]*:[^\x00-\x20<>\"{}|^`\\]*)>"
_TRIPLE = re.compile(rf"[ \t]*{_IRI}[ \t]*{_IRI}[ \t]*{_IRI}[ \t]*\.[ \t]*(?:#([^\r\n]*))?")


def parse_ntriples(content):
    """(triple of IRIs, comment) of every line; whatever the grammar does not allow is an error."""
    text = content.decode("utf-8", errors="strict")
    found = []
    for line in re.split(r"[\r\n]+", text.removesuffix("\n")):
        match = _TRIPLE.fullmatch(line)
        assert match, line
        found.append((match.groups()[:3], match[4]))
    return found


def test_ntriples_are_read_back_by_a_strict_parser(odd, tmp_path):
    table = pd.read_parquet(completed(odd, tmp_path / "facts.parquet"))
    parsed = parse_ntriples(completed(odd, tmp_path / "facts.nt").read_bytes())
    prefix = "urn:mmrns:my%20graph:"

    def identifier(iri):
        if not iri.startswith(prefix):
            return {"http://kg.org/A_(b)": "<http://kg.org/A_(b)>"}.get(iri, iri)
        assert re.fullmatch(r"(?:[A-Za-z0-9_.~-]|%[0-9A-F]{2})+", iri.removeprefix(prefix))
        return unquote(iri.removeprefix(prefix), errors="strict")

    read = [tuple(map(identifier, triple)) for triple, _ in parsed]
    assert read == list(table[["head", "relation", "tail"]].itertuples(index=False, name=None))
    kept = {iri for triple, _ in parsed for iri in triple if not iri.startswith(prefix)}
    assert kept == {"http://kg.org/A_(b)", "http://kg.org/é", "http://kg.org/p#1"}
    said = [float(re.fullmatch(r" probability (\S+)", comment)[1]) for _, comment in parsed]
    np.testing.assert_allclose(said, table["probability"], rtol=1e-5)
