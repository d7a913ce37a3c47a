"""A search space as YAML declares it: option -> {low, high, log} or {choices}."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from mmrns.config import Config, options_by_section
from mmrns.config_file import read_config_file
from mmrns.config_io import load_config
from mmrns.errors import UserError

if TYPE_CHECKING:
    from optuna.trial import Trial

# What is compared on what: searching these would move the yardstick.
_FIXED_SECTIONS = ("Data", "Selection", "Evaluation")
_FIXED = ("seed", "device", "threads", "output")


class Dimension(BaseModel):
    """What one option may be: a range with both ends in it, or one of some values."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: list[bool | int | float | str] | None = None

    @field_validator("low", "high", mode="before")
    @classmethod
    def _as_options_are_read(cls, value: Any) -> Any:
        """YAML takes 1e-4 for text (a number needs its point: 1.0e-4); options are read either way, and so are ends."""
        try:
            return float(value) if isinstance(value, str) else value
        except ValueError:
            return value

    @model_validator(mode="after")
    def _one_of_the_two(self) -> "Dimension":
        ranged = self.low is not None and self.high is not None
        some = self.log or self.low is not None or self.high is not None
        if (self.choices is None and not ranged) or (self.choices is not None and (some or not self.choices)):
            raise ValueError("needs low and high, or choices")
        if ranged and not (self.ends[0] < self.ends[1] and all(map(math.isfinite, self.ends))):
            raise ValueError("low must be below high")
        if self.log and self.ends[0] <= 0:
            raise ValueError("log needs low above 0")
        return self

    @property
    def ends(self) -> tuple[float, float]:
        """Least and largest value of a range."""
        return self.low or 0.0, self.high or 0.0

    def holds(self, value: Any) -> bool:
        """Whether a value lies in the dimension."""
        if self.choices is not None:
            return value in self.choices
        return self.ends[0] <= value <= self.ends[1]


@dataclass(frozen=True)
class SearchSpace:
    """Dimensions by option, in the file's order."""

    file: Path
    dimensions: dict[str, Dimension]

    def suggest(self, trial: "Trial") -> dict[str, Any]:
        """A value of each option; whole numbers for options that are."""
        values: dict[str, Any] = {}
        for name, dimension in self.dimensions.items():
            if dimension.choices is not None:
                values[name] = trial.suggest_categorical(name, dimension.choices)
            elif _is_whole(name):
                low, high = map(int, dimension.ends)
                values[name] = trial.suggest_int(name, low, high, log=dimension.log)
            else:
                values[name] = trial.suggest_float(name, *dimension.ends, log=dimension.log)
        return values

    def own_values(self, config: Config) -> dict[str, Any]:
        """A configuration's values of the options."""
        return {name: getattr(config, name) for name in self.dimensions}

    def outside(self, values: dict[str, Any]) -> list[str]:
        """Those of the options whose value lies outside the space."""
        return [name for name, dimension in self.dimensions.items() if not dimension.holds(values[name])]

    def described(self) -> dict[str, dict[str, Any]]:
        """The space as plain values."""
        return {name: d.model_dump(exclude_defaults=True) for name, d in self.dimensions.items()}


def load_search_space(file: Path, config_file: Path, settings: dict[str, Any] | None = None) -> SearchSpace:
    """Read a search space, which may extend others, and check that the configuration takes every end of it.

    Args:
        file: the search space.
        config_file: the configuration that is tuned.
        settings: options that differ from it, by name.

    Raises:
        UserError: names the file, line and option of a dimension that is malformed, or that Config refuses.
    """
    content, settings = read_config_file(file, "--search"), settings or {}
    if not content.values:
        raise UserError(f"--search {file}: searches nothing; write `option: {{low: …, high: …}}` lines")
    dimensions = {}
    for name, value in content.values.items():
        where = f"{content.places[name]}: {name}"
        if name not in searchable_options():
            raise UserError(f"{where}: no option of mmrns train that can be searched")
        if name in settings:
            raise UserError(f"--set {name}: is searched by {content.places[name]}; leave out one of them")
        if not isinstance(value, dict):
            raise UserError(f"{where}: needs {{low: …, high: …}} or {{choices: […]}}")
        try:
            dimension = Dimension.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            key = "".join(f"{part}: " for part in first["loc"])
            raise UserError(f"{where}: {key}{first['msg'].removeprefix('Value error, ').lower()}") from None
        if dimension.choices is None and Config.model_fields[name].annotation not in (int, float):
            raise UserError(f"{where}: is no number; give its choices")
        taken = []
        for end in dimension.choices or dimension.ends:
            whole = isinstance(end, float) and _is_whole(name) and end.is_integer()
            try:
                config = load_config({**settings, name: int(end) if whole else end}, config_file)
            except UserError as error:
                raise UserError(f"{where}: {error}") from None
            taken.append(getattr(config, name))
        if dimension.choices is not None:
            # As the configuration has them, so that its own value is found among them.
            dimension = Dimension(choices=taken)
        dimensions[name] = dimension
    return SearchSpace(file, dimensions)


def searchable_options() -> list[str]:
    """Options of a run that a search may vary."""
    sections = options_by_section().items()
    return [
        name for section, names in sections if section not in _FIXED_SECTIONS for name in names if name not in _FIXED
    ]


def _is_whole(name: str) -> bool:
    return Config.model_fields[name].annotation is int
