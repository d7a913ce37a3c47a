"""What leaves the graph before it is split: tautologies, rare relations and loose entities."""

from __future__ import annotations

from collections import Counter

from pictokg.graph import Graph, Triple
from pictokg.masking import mentions

MIN_RELATION_TRIPLES = 20
MIN_DEGREE = 2
"""With fewer triples an entity could not be held out and still be learnt."""


def tautologies(graph: Graph) -> set[Triple]:
    """Triples whose one label names the other entity ("Hong Kong dollar", Hong Kong): the label says it all."""
    return {triple for triple in graph.triples if _names_the_other(graph, triple[0], triple[2])}


def _names_the_other(graph: Graph, head: str, tail: str) -> bool:
    return any(
        mentions(graph.entities[one].label, _telling_names(graph, other)) for one, other in ((head, tail), (tail, head))
    )


def _telling_names(graph: Graph, id: str) -> set[str]:
    """The label; of a concept its synonyms too. A demonym in a label ("Danish krone") is masked, not dropped."""
    entity = graph.entities[id]
    return entity.names if entity.type == "concept" else {entity.label}


def without_loose_ends(triples: set[Triple]) -> set[Triple]:
    """Remove rare relations and entities of low degree until none is left."""
    while True:
        degree = Counter(id for head, _, tail in triples for id in (head, tail))
        size = Counter(relation for _, relation, _ in triples)
        kept = {
            (head, relation, tail)
            for head, relation, tail in triples
            if size[relation] >= MIN_RELATION_TRIPLES and min(degree[head], degree[tail]) >= MIN_DEGREE
        }
        if kept == triples:
            return kept
        triples = kept
