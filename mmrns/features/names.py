"""Ids that are names, as text: what DBpedia, YAGO and the like call a thing, in words.

Ids of Wikidata or Freebase and numbers say nothing to a text encoder, and are no text.
"""

import re
from urllib.parse import unquote

# What stands before a name in an IRI. A DBpedia name may hold "/" and "#" itself ("AC/DC"), so what follows the
# collection is taken whole; of other IRIs the last part is.
_COLLECTION = re.compile(r"^https?://[^/]+/(?:resource|entity|wiki|page|ontology|property)/")
_IRI = re.compile(r"^[a-z][a-z0-9+.-]*://\S*[/#]", re.IGNORECASE)

# Ids that number a thing: Wikidata (Q42, P31, L7), Freebase (/m/02mjmr, m.02mjmr, /g/11b6), a UUID, digits, nothing.
_NUMBERED = re.compile(
    r"[QPL]\d+|/?m[./]0[0-9a-z_]+|/?g[./]1[0-9a-z_]+|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|\d+|[\W_]*"
)

# YAGO: an edition's language before the name ("de/Kölner_Haie"); the kind and WordNet's number around a class
# ("wordnet_person_100007846", "wikicat_Living_people").
_LANGUAGE = re.compile(r"^[a-z]{2,3}/(?=\S)")
_CLASS = re.compile(r"^(?:wordnet|wikicat|wikicategory|geoclass|yago)_+(.*?)(?:_\d{8,9})?$")

# One word in camel case that begins small, such as a property ("wasBornIn"). "YouTube" and "iPhone" stay whole.
_CAMEL = re.compile(r"[a-z]{2,}(?:[A-Z][a-z]+)+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


def name_text(identifier: str) -> str:
    """The words of an id that is a name, or "" of one that is none.

    `<http://dbpedia.org/resource/Blue_(2009_film)>` gives "Blue, 2009 film", `de/Kölner_Haie` gives "Kölner Haie",
    `wasBornIn` gives "was born in", `Q42` gives "".
    """
    name = identifier.strip().removeprefix("<").removesuffix(">").strip()
    of_collection = _COLLECTION.match(name)
    if found := of_collection or _IRI.match(name):
        name = name[found.end() :]
    if _NUMBERED.fullmatch(name) and not (of_collection and re.fullmatch(r"\d{1,4}", name)):
        return ""
    name = unquote(name)
    name = _CLASS.sub(r"\1", _LANGUAGE.sub("", name))
    if _CAMEL.fullmatch(name):
        name = " ".join(_HUMP.split(name)).lower()
    name = name.replace("_", " ")
    name = re.sub(r"\s*\(([^()]*)\)", r", \1", name)
    return " ".join(name.split()).strip(" ,")
