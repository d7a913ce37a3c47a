"""Countries: neighbours, regions, languages, currencies, time offsets, first day of the week, memberships, flags."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pictokg.graph import Graph
from pictokg.languages import EnglishNames, Languages, read_supplemental

DAYS = {"mon": "Monday", "fri": "Friday", "sat": "Saturday", "sun": "Sunday"}
ORGANISATIONS = {"EU": ("European Union", ["EU"]), "EZ": ("Eurozone", ["euro area", "euro zone"])}
OFFICIAL = ("official", "de_facto_official")
MIN_SPEAKERS_PERCENT = 5.0
"""A language that is not official counts as spoken from this share of the population on."""

OFFSET_YEAR = 2024
"""Standard time is the lesser of the offsets in January and July of this year."""

MIN_SPELLING_LENGTH = 4
"""Shorter alternative spellings are codes."""

REGION_WORDS = {
    "Africa": ("African",),
    "America": ("American", "Americas"),
    "Asia": ("Asian",),
    "Caribbean": ("West Indies", "Antilles", "West Indian"),
    "Europe": ("European",),
    "Melanesia": ("Melanesian",),
    "Micronesia": ("Micronesian",),
    "Oceania": ("Oceanic",),
    "Polynesia": ("Polynesian",),
}
"""Words that give a region away: of each key in its label, the key itself and these."""


class Countries:
    """The countries of `world-countries`, added to a graph with all their facts."""

    def __init__(self, graph: Graph, names: EnglishNames, world_countries: Path, cldr: Path) -> None:
        self._graph = graph
        self._names = names
        self._cldr = cldr
        self._languages = Languages(graph, cldr, names)
        self.facts: dict[str, dict[str, Any]] = {}
        countries = json.loads((world_countries / "countries.json").read_text(encoding="utf-8"))
        for country in sorted(countries, key=lambda country: country["cca3"]):
            id = f"country:{country['cca3']}"
            graph.entity(id, country["name"]["common"], "country", _other_names(country))
            self.facts[id] = country
        self._by_code = {country["cca2"]: id for id, country in self.facts.items()}
        self._by_long_code = {country["cca3"]: id for id, country in self.facts.items()}

    def add_flags(self, flag_icons: Path) -> None:
        """Every country's flag as its picture."""
        for code, id in self._by_code.items():
            self._graph.entities[id].pictures.append(flag_icons / "flags" / "4x3" / f"{code.lower()}.svg")

    def add_facts(self, tzdata: Path) -> None:
        """All triples about countries, and those about their languages."""
        for id, country in self.facts.items():
            self._add_places(id, country)
        self._add_languages()
        self._add_currencies()
        self._add_weeks_and_organisations()
        self._add_time_offsets(tzdata / "tzdata" / "zoneinfo")
        self._languages.add_scripts_and_families()

    def _add_places(self, id: str, country: dict[str, Any]) -> None:
        graph = self._graph
        for code in country["borders"]:
            neighbour = self._by_long_code[code]
            if country["cca3"] in self.facts[neighbour]["borders"]:  # India does not return that of Sri Lanka
                graph.add(id, "borders", neighbour)
        if country["subregion"]:
            subregion = self._region(country["subregion"])
            graph.add(subregion, "includes_country", id)
            if country["region"] != country["subregion"]:
                graph.add(subregion, "part_of", self._region(country["region"]))
        if group := country.get("unRegionalGroup"):
            graph.add(id, "un_regional_group", graph.entity(f"ungroup:{group}", group, "organisation"))

    def _region(self, label: str) -> str:
        aliases = [name for key, others in REGION_WORDS.items() if key in label for name in (key, *others)]
        return self._graph.entity(f"region:{label}", label, "region", aliases)

    def _add_languages(self) -> None:
        graph = self._graph
        official: dict[str, set[str]] = {id: set() for id in self.facts}
        for id, country in self.facts.items():
            official[id] |= {language for code in country["languages"] if (language := self._languages.add(code))}
        spoken: dict[str, set[str]] = {id: set() for id in self.facts}
        for territory, info in read_supplemental(self._cldr, "territoryInfo")["territoryInfo"].items():
            if territory not in self._by_code:
                continue
            id = self._by_code[territory]
            for code, use in info.get("languagePopulation", {}).items():
                is_official = use.get("_officialStatus") in OFFICIAL
                is_spoken = float(use["_populationPercent"]) >= MIN_SPEAKERS_PERCENT
                if (is_official or is_spoken) and (language := self._languages.add(code)):
                    (official if is_official else spoken)[id].add(language)
        for id in self.facts:
            for language in official[id]:
                graph.add(id, "official_language", language)
            for language in spoken[id] - official[id]:
                graph.add(id, "spoken_language", language)

    def _add_currencies(self) -> None:
        graph = self._graph
        for id, country in self.facts.items():
            for code, currency in country["currencies"].items():
                graph.add(id, "uses_currency", self._currency(code, currency["name"]))
        current = set(graph.pairs("uses_currency"))
        for territory, periods in read_supplemental(self._cldr, "currencyData")["currencyData"]["region"].items():
            if territory not in self._by_code:
                continue
            id = self._by_code[territory]
            for code, period in ((code, period) for entry in periods for code, period in entry.items()):
                was_tender = period.get("_tender") != "false" and "_to" in period
                if was_tender and code in self._names.currencies:
                    currency = self._currency(code, self._names.currencies[code])
                    if (id, currency) not in current:
                        graph.add(id, "former_currency", currency)

    def _currency(self, code: str, label: str) -> str:
        return self._graph.entity(f"cur:{code}", label, "currency", [re.sub(r" *\(.*\)", "", label)])

    def _add_weeks_and_organisations(self) -> None:
        graph = self._graph
        first_day = read_supplemental(self._cldr, "weekData")["weekData"]["firstDay"]
        for code, id in self._by_code.items():
            day = first_day.get(code, first_day["001"])
            graph.add(id, "week_starts_on", graph.entity(f"day:{day}", DAYS[day], "day"))
        containment = read_supplemental(self._cldr, "territoryContainment")["territoryContainment"]
        for group, (label, aliases) in ORGANISATIONS.items():
            organisation = graph.entity(f"org:{group}", label, "organisation", aliases)
            for code in containment[group]["_contains"]:
                graph.add(self._by_code[code], "member_of", organisation)

    def _add_time_offsets(self, zoneinfo: Path) -> None:
        for line in (zoneinfo / "zone.tab").read_text(encoding="utf-8").splitlines():
            if line.startswith("#"):
                continue
            code, _, zone = line.split()[:3]
            if code in self._by_code:
                label = offset_label(standard_offset(zoneinfo / zone))
                offset = self._graph.entity(f"tz:{label}", label, "time offset")
                self._graph.add(self._by_code[code], "utc_offset", offset)


def standard_offset(zone_file: Path) -> timedelta:
    """The standard time offset of a compiled zone file."""
    with zone_file.open("rb") as data:
        zone = ZoneInfo.from_file(data)
    offsets = [datetime(OFFSET_YEAR, month, 15, 12, tzinfo=zone).utcoffset() for month in (1, 7)]
    return min(offset for offset in offsets if offset is not None)


def offset_label(offset: timedelta) -> str:
    """`UTC+5:30`."""
    minutes = int(offset.total_seconds()) // 60
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'-' if minutes < 0 else '+'}{hours}:{rest:02d}"


def _other_names(country: dict[str, Any]) -> list[str]:
    """The official name, alternative spellings and what its people are called."""
    spellings = [name for name in country["altSpellings"] if len(name) >= MIN_SPELLING_LENGTH]
    people = country.get("demonyms", {}).get("eng", {})
    demonyms = [name for form in people.values() for name in re.split(r", | or ", form)]
    return [country["name"]["official"], *spellings, *demonyms]
