"""Names and relations of languages: families, scripts, and the codes that other sources use for them."""

from __future__ import annotations

import csv
import importlib
import json
import re
from pathlib import Path
from typing import Any

from pictokg.graph import Graph

FAMILIES_FILE = Path(__file__).with_name("language_families.tsv")
"""ISO 639-5 codes of the language families used, with their English names."""

SCRIPT_LABELS = {"Hans": "Simplified Han", "Hant": "Traditional Han"}
"""Scripts whose short name alone would mean nothing."""

DIRECTION_PREFIX = re.compile(r"^(?:(?:north|south|east|west|central)(?:ern)? )+", re.IGNORECASE)


def read_supplemental(cldr: Path, name: str) -> dict[str, Any]:
    """One CLDR supplemental table."""
    path = cldr / "supplemental" / f"{name}.json"
    table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["supplemental"]
    return table


class EnglishNames:
    """English names of languages, scripts and currencies (PyPI `babel`)."""

    def __init__(self) -> None:
        locale = importlib.import_module("babel").Locale("en")
        self.languages: dict[str, str] = dict(locale.languages)
        self.scripts: dict[str, str] = dict(locale.scripts) | SCRIPT_LABELS
        self.currencies: dict[str, str] = dict(locale.currencies)


class Languages:
    """Adds languages to the graph by any code, and then what is known about those added."""

    def __init__(self, graph: Graph, cldr: Path, names: EnglishNames) -> None:
        self._graph = graph
        self._cldr = cldr
        self._names = names
        self._ids: dict[str, str] = {}
        aliases = read_supplemental(cldr, "aliases")["metadata"]["alias"]["languageAlias"]
        self._preferred = {code: entry["_replacement"] for code, entry in aliases.items()}

    def add(self, code: str) -> str | None:
        """The entity of a language code (two or three letters, with or without region), if it has a name."""
        base = re.split("[-_]", self._preferred.get(code, code))[0]
        label = self._names.languages.get(base)
        if label is None:
            return None
        self._ids[base] = self._graph.entity(f"lang:{base}", label, "language")
        return self._ids[base]

    def add_scripts_and_families(self) -> None:
        """`written_in` and `includes_language` of every language added so far."""
        data = read_supplemental(self._cldr, "languageData")["languageData"]
        groups = read_supplemental(self._cldr, "languageGroups")["languageGroups"]
        family_of = {language: family for family, members in groups.items() for language in members.split()}
        families = read_families()
        for code, id in sorted(self._ids.items()):
            for script in data.get(code, {}).get("_scripts", ()):
                if name := self._names.scripts.get(script):
                    script_id = self._graph.entity(f"script:{script}", f"{name} script", "script", [name])
                    self._graph.add(id, "written_in", script_id)
            family = family_of.get(code)
            if family in families:
                label = families[family]
                short = label.removesuffix(" languages")
                aliases = [short, DIRECTION_PREFIX.sub("", short)]
                family_id = self._graph.entity(f"family:{family}", label, "language family", aliases)
                self._graph.add(family_id, "includes_language", id)


def read_families(path: Path = FAMILIES_FILE) -> dict[str, str]:
    """The frozen table of family names."""
    with path.open(encoding="utf-8", newline="") as lines:
        return {row["code"]: row["label"] for row in csv.DictReader(lines, delimiter="\t")}
