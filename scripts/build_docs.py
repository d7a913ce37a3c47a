"""Fill the generated parts of docs/*.md and README.md: `make docs`.

A generated part stands between `<!-- begin NAME -->` and `<!-- end NAME -->`, NAME a key of PARTS. All else on a page
is left alone. `--check` writes nothing and fails when a page is out of date.
"""

import argparse
import ast
import dataclasses
import importlib
import pkgutil
import re
import sys
import tomllib
import types
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import mmrns.commands
from mmrns.analysis.guide import GUIDES
from mmrns.config import Config, flag, options_by_section
from mmrns.encoders import EntityEncoder
from mmrns.experiments.grid import load_grid
from mmrns.experiments.summary import summarise
from mmrns.features.options import ExtractOptions, flag_of
from mmrns.losses import losses
from mmrns.negatives import NegativeSampler
from mmrns.plugins import choices, first_line
from mmrns.report.grid_tables import overview_table
from mmrns.report.tables import escaped
from mmrns.scoring import ScoringFunction

ROOT = Path(__file__).resolve().parents[1]
_PART = re.compile(r"(<!-- begin (\w+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)
_KINDS = {int: "whole number", float: "number", bool: "true or false", str: "text", dict: "JSON object", Path: "folder"}
_LIMITS = {"gt": "> {}", "ge": "≥ {}", "lt": "< {}", "le": "≤ {}"}


def pages() -> list[Path]:
    """Every page that may hold generated parts."""
    return [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if path.is_file()]


def filled(text: str) -> str:
    """The text of a page with its generated parts made anew."""
    return _PART.sub(lambda match: f"{match[1]}\n{PARTS[match[2]]()}\n\n{match[3]}", text)


def table(header: list[str], rows: Iterable[list[str]]) -> str:
    """A Markdown table; bars and angle brackets within cells are escaped."""
    lines = [header, ["---"] * len(header), *([escaped(cell).replace("<", r"\<") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def train_options() -> str:
    """A table for each section of Config."""
    parts = []
    for section, options in options_by_section().items():
        rows = [
            [f"`{flag(name)}`", _shown(option.default), _values(Config, name, option.metadata), str(option.description)]
            for name, option in options.items()
        ]
        parts.append(f"### {section}\n\n" + table(["flag", "default", "values", "what it does"], rows))
    return "\n\n".join(parts)


def extract_options() -> str:
    """The table of ExtractOptions."""
    rows = []
    for option in dataclasses.fields(ExtractOptions):
        named = option.metadata.get("choices")
        values = ", ".join(f"`{name}`" for name in named) if named else _values(ExtractOptions, option.name)
        rows.append([f"`{flag_of(option.name)}`", _shown(option.default), values, option.metadata["help"]])
    return table(["flag", "default", "values", "what it does"], rows)


def _values(holder: type, name: str, metadata: Iterable[Any] = ()) -> str:
    """What an option takes: its choices, or its kind and limits."""
    kind = typing.get_type_hints(holder)[name]
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(kind))
    several = " …" if typing.get_origin(kind) is tuple else ""
    if isinstance(kind, types.UnionType) or several:
        kind = next(part for part in typing.get_args(kind) if part is not types.NoneType)
    limits = [
        text.format(getattr(limit, key)) for limit in metadata for key, text in _LIMITS.items() if hasattr(limit, key)
    ]
    return _KINDS[typing.get_origin(kind) or kind] + several + (" " + ", ".join(limits) if limits else "")


def _shown(default: Any) -> str:
    if default in ("", {}, (), None):
        return ""
    return f"`{default}`".lower() if isinstance(default, bool) else f"`{default}`"


def _choices(package: str, base: type) -> str:
    rows = [[f"`{name}`", first_line(found), f"`{_file(found)}`"] for name, found in choices(package, base).items()]
    return table(["name", "what it is", "file"], rows)


def loss_table() -> str:
    """The losses that mmrns.losses offers."""
    rows = [[f"`{name}`", first_line(loss), f"`{_file(loss)}`"] for name, loss in losses().items()]
    return table(["name", "what it is", "file"], rows)


def _file(thing: Any) -> str:
    return thing.__module__.replace(".", "/") + ".py"


def commands() -> str:
    """The subcommands of mmrns, with the line that --help shows."""
    rows = []
    for module in pkgutil.iter_modules(mmrns.commands.__path__):  # in the order of their names
        name = module.name.rstrip("_").replace("_", "-")
        rows.append([f"`mmrns {name}`", importlib.import_module(f"mmrns.commands.{module.name}").HELP])
    return table(["command", "what it does"], rows)


def layers() -> str:
    """The rooms in the order of pyproject.toml's import rule, each with what its docstring says."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    rows = []
    for number, layer in enumerate(project["tool"]["importlinter"]["contracts"][0]["layers"], start=1):
        for room in (part.strip("()") for part in layer.split(" | ")):
            place = ROOT / room.replace(".", "/")
            source = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
            says = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) if source.is_file() else None
            rows.append([str(number), f"`{room}`", says.splitlines()[0] if says else "(reserved)"])
    return table(["layer", "room", "what is in it"], rows)


def _demo() -> str:
    return (ROOT / "results" / "demo" / "results.md").read_text(encoding="utf-8").strip()


def benchmarks() -> str:
    """MRR of the main grid's rows, from what results/main keeps."""
    grid = load_grid(ROOT / "configs/grids/main.yaml")
    return overview_table(grid, summarise(grid, ROOT / "results/main", differences=False))


def measures() -> str:
    """The measures of mmrns analyze: when each is a concern, and what helps."""
    rows = [
        [f"`{name}`", guide.title, guide.better, guide.limit, guide.poor, guide.remedy]
        for name, guide in GUIDES.items()
    ]
    return table(["name", "measure", "better", "a concern", "which means", "what helps"], rows)


PARTS: dict[str, Callable[[], str]] = {
    "demo": _demo,
    "benchmarks": benchmarks,
    "models": lambda: _choices("mmrns.scoring", ScoringFunction),
    "samplers": lambda: _choices("mmrns.negatives", NegativeSampler),
    "encoders": lambda: _choices("mmrns.encoders", EntityEncoder),
    "losses": loss_table,
    "train_options": train_options,
    "extract_options": extract_options,
    "commands": commands,
    "layers": layers,
    "measures": measures,
}


def main() -> int:
    """Write, or with --check only compare; returns the exit status."""
    parser = argparse.ArgumentParser(description="Fill the generated parts of docs/*.md and README.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is out of date")
    check = parser.parse_args().check
    stale = [path for path in pages() if filled(text := path.read_text(encoding="utf-8")) != text]
    for path in stale:
        print(f"{path.relative_to(ROOT)}: {'out of date; run: make docs' if check else 'written'}")
        if not check:
            path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
