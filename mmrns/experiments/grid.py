"""A grid of runs as YAML declares it: groups (a table each) times rows (a configuration and what it changes)."""

import json
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mmrns.config import Config, flag
from mmrns.config_file import CONFIGS, read_config_file, read_mapping, read_preset
from mmrns.config_io import load_config
from mmrns.errors import UserError


@dataclass(frozen=True)
class Group:
    """Cells that share a dataset and a table.

    Attributes:
        needs: modalities that the dataset's features must have before a run starts.
        extract: the command that makes them, for the message when they are missing.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    extract: str


@dataclass(frozen=True)
class Cell:
    """A configuration file and the options that differ from it, over seeds.

    Attributes:
        group, row: its name is group/row.
        label: what the row is called in a table.
        file: the configuration file.
        options: changes to it, by option name.
        seeds: seeds 0 to seeds - 1 are asked for.
        against: the row of the same group that it is compared with, or "".
        members: the rows of the same group that are ranked as one, seed by seed; () where the cell is trained. An
            ensemble's file and options are its first member's.
        weights: of the members; () where all weigh 1.
        feature_similarity: modality -> weight of likeness in features, ranked as one with the members.
    """

    group: str
    row: str
    label: str
    file: Path
    options: dict[str, Any]
    seeds: int
    against: str
    members: tuple["Cell", ...] = ()
    weights: tuple[float, ...] = ()
    feature_similarity: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """group/row, as `--only` matches it."""
        return f"{self.group}/{self.row}"

    @property
    def published(self) -> dict[str, Any]:
        """Published numbers for this setting, as the configuration file gives them; {} when options differ from it."""
        return {} if self.options or self.members else read_config_file(self.file).published

    def config(self, seed: int = 0) -> Config:
        """The whole configuration of one seed; UserError names the file and the cell."""
        return load_config({**self.options, "seed": seed}, self.file)

    def changed(self, options: dict[str, Any]) -> "Cell":
        """The cell, and its members, with other options."""
        members = tuple(member.changed(options) for member in self.members)
        return replace(self, options=self.options | options, members=members)

    def folder(self, root: Path, seed: int) -> Path:
        """Where the run of a seed is kept below `root`."""
        return root / self.group / self.row / f"seed-{seed}"

    def arguments(self, seed: int, root: Path = Path()) -> list[str]:
        """Arguments of `mmrns` that make one seed, without --output; an ensemble's members lie below `root`."""
        if self.members:
            runs = [str(member.folder(root, seed)) for member in self.members]
            weights = ["--weights", *map(repr, self.weights)]
            alike = [
                "--feature-similarity",
                *(f"{name}={weight!r}" for name, weight in self.feature_similarity.items()),
            ]
            return ["ensemble", *runs, *(weights if self.weights else []), *(alike if self.feature_similarity else [])]
        options = [text for name, value in self.options.items() for text in (flag(name), as_text(value))]
        return ["train", "--config", str(shown(self.file)), *options, "--seed", str(seed)]


@dataclass(frozen=True)
class Grid:
    """Everything in a grid file.

    Attributes:
        name: the file's stem; results are kept in results/<name>.
        about: said above the tables.
        published: methods whose published rows stand in the tables beside those that cells name.
    """

    name: str
    title: str
    about: str
    file: Path
    published: tuple[str, ...]
    groups: dict[str, Group]
    cells: tuple[Cell, ...]

    def select(self, patterns: list[str]) -> tuple[Cell, ...]:
        """Cells whose name matches a shell pattern, all without one; UserError when a pattern matches none."""
        for pattern in patterns:
            if not any(fnmatchcase(cell.name, pattern) for cell in self.cells):
                raise UserError(
                    f"--only {pattern}: matches no cell of {shown(self.file)}; `mmrns reproduce {self.name} --dry-run` "
                    "lists them"
                )
        chosen = [cell for cell in self.cells if not patterns or any(fnmatchcase(cell.name, p) for p in patterns)]
        return tuple(chosen)


def find_grid(name: str) -> Path:
    """A grid's file: `name` itself if it is one, else configs/grids/name.yaml here or that of mmrns."""
    places = [Path(name), Path("configs/grids") / f"{name}.yaml", CONFIGS / "grids" / f"{name}.yaml"]
    for place in places:
        if place.is_file():
            return place
    known = sorted(path.stem for path in (CONFIGS / "grids").glob("*.yaml"))
    raise UserError(f"{name}: no such grid; give one of {', '.join(known)} or a YAML file of your own")


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _GroupEntry(_Entry):
    title: str = ""
    config: str = ""
    seeds: int | dict[str, int] | None = None
    needs: list[str] = []
    extract: str = ""


class _RowEntry(_Entry):
    label: str = ""
    config: str = ""
    preset: str = ""
    set: dict[str, Any] = {}
    members: list[str] = []
    weights: list[float] = []
    feature_similarity: dict[str, float] = {}
    seeds: int | None = None
    against: str | None = None
    groups: list[str] | None = None


class _GridFile(_Entry):
    title: str
    about: str = ""
    seeds: int = 1
    against: str = ""
    published: list[str] = []
    groups: dict[str, _GroupEntry | None] = Field(min_length=1)
    rows: dict[str, _RowEntry | None] = Field(min_length=1)


def load_grid(file: Path) -> Grid:
    """Read a grid and every configuration in it.

    A row `name: {set: {option: value}}` is a cell in each group, or in those of its `groups:`. Its configuration file
    is the row's `config:`, else the group's, else {group}/{row}.yaml; {group} and {row} may stand in a name, which is
    relative to the folder above the grid's. `preset:` names a file of options below `set:` (see read_preset). A row
    `name: {members: [row, row]}` is an ensemble of rows above it, or, with `feature_similarity: {modality: weight}`,
    of one row or more and the likeness of features; `weights:` are the members', 1 each if left out. `seeds:` of a
    group is a number, or a mapping of rows to numbers.

    Raises:
        UserError: names the file and the row of an unknown key, option or row, or of a bad value.
    """
    content, lines = read_mapping(file, str(file))
    try:
        grid = _GridFile(**content)
    except ValidationError as error:
        # A key that is misspelt is also one that is missing; the former says more.
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        key, *inner = (str(part) for part in first["loc"])
        where = ": ".join([f"{file}:{lines.get(key, 1)}", key, *inner])
        raise UserError(f"{where}: {first['msg'].lower()}; see configs/grids/main.yaml") from None
    groups = {name: entry or _GroupEntry() for name, entry in grid.groups.items()}
    rows = {name: entry or _RowEntry() for name, entry in grid.rows.items()}
    _check_names(groups, rows, f"{file}:{lines['groups']}", f"{file}:{lines['rows']}")
    cells = []
    for group, group_entry in groups.items():
        there = {name for name, entry in rows.items() if entry.groups is None or group in entry.groups}
        trained: dict[str, Cell] = {}
        for row in (name for name in rows if name in there):
            where = f"{file}:{lines['rows']}: rows: {row} ({group})"
            cell = _cell(file, grid, group, group_entry, row, rows[row], where)
            if rows[row].members or rows[row].feature_similarity:
                cell = _ensemble(cell, rows[row], trained, where)
            else:
                trained[row] = cell
            if cell.seeds < 1:
                raise UserError(f"{where}: seeds: needs a number from 1")
            if cell.against and cell.against not in there:
                raise UserError(f"{where}: against {cell.against}: {group} has no such row; name one of its rows")
            try:
                cell.config()
            except UserError as error:
                raise UserError(f"{where}: {error}") from None
            cells.append(cell)
    described = {name: Group(name, e.title or name, tuple(e.needs), e.extract) for name, e in groups.items()}
    about = " ".join(grid.about.split())
    return Grid(file.stem, grid.title, about, file, tuple(grid.published), described, tuple(cells))


def _check_names(
    groups: dict[str, _GroupEntry], rows: dict[str, _RowEntry], where_groups: str, where_rows: str
) -> None:
    """Raise UserError for a group's `seeds:` of a row, or a row's `groups:`, that there is not."""
    for name, group in groups.items():
        there = {row for row, entry in rows.items() if entry.groups is None or name in entry.groups}
        for row in group.seeds if isinstance(group.seeds, dict) else ():
            if row not in there:
                raise UserError(
                    f"{where_groups}: groups: {name}: seeds: {row}: {name} has no such row; name one of its rows"
                )
    for row, entry in rows.items():
        for name in entry.groups or ():
            if name not in groups:
                raise UserError(
                    f"{where_rows}: rows: {row}: groups: {name}: no such group; name one of {', '.join(groups)}"
                )


def _cell(
    file: Path, grid: _GridFile, group: str, of_group: _GroupEntry, row: str, entry: _RowEntry, where: str
) -> Cell:
    template = entry.config or of_group.config or "{group}/{row}.yaml"
    against = grid.against if entry.against is None else entry.against
    seeds = of_group.seeds.get(row) if isinstance(of_group.seeds, dict) else of_group.seeds
    return Cell(
        group=group,
        row=row,
        label=entry.label or row,
        file=file.absolute().parent.parent / template.replace("{group}", group).replace("{row}", row),
        options=_preset(entry.preset, where) | entry.set,
        seeds=next(number for number in (seeds, entry.seeds, grid.seeds) if number is not None),
        against="" if against == row else against,
    )


def _preset(name: str, where: str) -> dict[str, Any]:
    try:
        return read_preset(name).values if name else {}
    except UserError as error:
        raise UserError(f"{where}: {str(error).removeprefix('--')}") from None


def _ensemble(cell: Cell, entry: _RowEntry, trained: dict[str, Cell], where: str) -> Cell:
    """The cell with its members, of the trained rows above it."""
    unknown = [name for name in entry.members if name not in trained]
    if unknown:
        raise UserError(f"{where}: members: {unknown[0]}: name trained rows of the group that stand above this one")
    if not entry.members or len(entry.members) + len(entry.feature_similarity) < 2:
        raise UserError(f"{where}: members: takes two rows or more, or one and feature_similarity:")
    if entry.config or entry.preset or entry.set:
        raise UserError(f"{where}: members: takes no config:, preset: or set: beside it")
    if entry.weights and len(entry.weights) != len(entry.members):
        raise UserError(f"{where}: weights: give {len(entry.members)} numbers, one a member")
    members = tuple(trained[name] for name in entry.members)
    return replace(
        cell,
        file=members[0].file,
        options=members[0].options,
        members=members,
        weights=tuple(entry.weights),
        feature_similarity=entry.feature_similarity,
    )


def as_text(value: Any) -> str:
    """An option's value as its flag takes it."""
    if isinstance(value, str):
        return value
    return json.dumps(value)


def shown(path: Path) -> Path:
    """A path as people write it: relative to the current folder or the project where it lies in one of them."""
    for root in (Path.cwd(), CONFIGS.parent):
        if path.resolve().is_relative_to(root):
            return path.resolve().relative_to(root)
    return path
