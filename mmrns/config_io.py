"""A Config from files and flags, and its way back into a file."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mmrns.config import Config, flag
from mmrns.config_file import ConfigFile, read_config_file, read_preset
from mmrns.errors import UserError


def load_config(values: dict[str, Any], file: Path | None = None, preset: str = "") -> Config:
    """Defaults, overlaid by a YAML file, overlaid by a preset, overlaid by flags.

    Args:
        values: what was given on the command line or in Python, by field name.
        file: a YAML mapping of field names, e.g. a run's config.yaml; it may extend others (see read_config_file).
        preset: name of a file of options in configs/presets.

    Raises:
        UserError: unknown key, wrong type or value out of range; the message names the file and line, or the flag.
    """
    given = read_config_file(file) if file else ConfigFile({}, {})
    if preset:
        over = read_preset(preset)
        given = ConfigFile(given.values | over.values, given.places | over.places)
    try:
        return Config(**{**given.values, **values})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        message = first["msg"].removeprefix("Value error, ")
        if not name:
            raise UserError(message) from None
        if first["type"] == "extra_forbidden":
            message = "unknown option; `mmrns train --help` lists them all"
        else:
            message = f"{message[0].lower()}{message[1:]}, not {first['input']!r}"
        where = flag(name) if name in values else f"{given.places.get(name, file)}: {name}"
        raise UserError(f"{where}: {message}") from None


def dump_config(config: Config) -> str:
    """The complete configuration as YAML; `load_config` reads it back to an equal Config."""
    values = config.model_dump()
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    # PyYAML does not read back the rarer line separators of Unicode, so a text that holds one is written escaped.
    return text if yaml.safe_load(text) == values else yaml.safe_dump(values, sort_keys=False)
