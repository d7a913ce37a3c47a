"""A search space as YAML declares it: option -> {low, high, log} or {choices}."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from mmrns.config import Config, load_config
from mmrns.config_file import read_config_file
from mmrns.errors import UserError

if TYPE_CHECKING:
    from optuna.trial import Trial


class Dimension(BaseModel):
    """What one option may be: a range with both ends in it, or one of some values."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: list[bool | int | float | str] | None = None

    @model_validator(mode="after")
    def _one_of_the_two(self) -> "Dimension":
        ranged = self.low is not None and self.high is not None
        some = self.log or self.low is not None or self.high is not None
        if (self.choices is None and not ranged) or (self.choices is not None and (some or not self.choices)):
            raise ValueError("needs low and high, or choices")
        if ranged and not self.ends[0] < self.ends[1]:
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
            elif Config.model_fields[name].annotation is int:
                low, high = map(int, dimension.ends)
                values[name] = trial.suggest_int(name, low, high, log=dimension.log)
            else:
                values[name] = trial.suggest_float(name, *dimension.ends, log=dimension.log)
        return values

    def own_values(self, config: Config) -> dict[str, Any] | None:
        """A configuration's values of the options; None where one lies outside the space."""
        values = {name: getattr(config, name) for name in self.dimensions}
        return values if all(self.dimensions[name].holds(value) for name, value in values.items()) else None

    def described(self) -> dict[str, dict[str, Any]]:
        """The space as plain values."""
        return {name: d.model_dump(exclude_defaults=True) for name, d in self.dimensions.items()}


def load_search_space(file: Path, config_file: Path) -> SearchSpace:
    """Read a search space, which may extend others, and check that the configuration takes every end of it.

    Raises:
        UserError: names the file, line and option of a dimension that is malformed, or that Config refuses.
    """
    content = read_config_file(file, "--search")
    if not content.values:
        raise UserError(f"--search {file}: searches nothing; write `option: {{low: …, high: …}}` lines")
    dimensions = {}
    for name, value in content.values.items():
        where = f"{content.places[name]}: {name}"
        if name not in Config.model_fields or name in ("seed", "output", "device", "threads", "dataset"):
            raise UserError(f"{where}: no option of mmrns train that can be searched")
        if not isinstance(value, dict):
            raise UserError(f"{where}: needs {{low: …, high: …}} or {{choices: […]}}")
        try:
            dimensions[name] = Dimension.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            key = "".join(f"{part}: " for part in first["loc"])
            raise UserError(f"{where}: {key}{first['msg'].removeprefix('Value error, ').lower()}") from None
        whole = Config.model_fields[name].annotation is int
        if dimensions[name].choices is None and Config.model_fields[name].annotation not in (int, float):
            raise UserError(f"{where}: is no number; give its choices")
        for end in dimensions[name].choices or dimensions[name].ends:
            try:
                load_config({name: int(end) if whole and end == int(end) else end}, config_file)
            except UserError as error:
                raise UserError(f"{where}: {error}") from None
    return SearchSpace(file, dimensions)
