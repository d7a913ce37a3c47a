"""Reading a YAML file of options: where each one stands, what it extends, and the published numbers beside it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mmrns.errors import UserError

# The compiled parser, where PyYAML has it, reads the hundreds of files behind a grid's table in a tenth of the time.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
EXTENDS, PUBLISHED = "extends", "published"
_PACKAGE = Path(__file__).resolve().parent
# The configurations that come with mmrns: a wheel has them in the package, a checkout beside it.
CONFIGS = (_PACKAGE if (_PACKAGE / "configs").is_dir() else _PACKAGE.parent) / "configs"


@dataclass(frozen=True)
class ConfigFile:
    """What a file of options says.

    Attributes:
        values: options by name, those of the files it extends among them.
        places: "file:line" of each option.
        published: the numbers that others have published for this setting, as `published:` gives them; {} without.
    """

    values: dict[str, Any]
    places: dict[str, str]
    published: dict[str, Any] = field(default_factory=dict)


def preset_file(name: str) -> Path:
    """The file of a preset: configs/presets/NAME.yaml here or that of mmrns; UserError lists those there are."""
    folders = [Path("configs/presets"), CONFIGS / "presets"]
    found = {path.stem: path for folder in reversed(folders) for path in sorted(folder.glob("*.yaml"))}
    if name not in found:
        raise UserError(f"--preset {name}: unknown; choose one of {', '.join(sorted(found))}, or give --config FILE")
    return found[name]


def read_preset(name: str) -> ConfigFile:
    """The options of a preset; UserError as `preset_file` and `read_config_file`."""
    return read_config_file(preset_file(name), "--preset")


def read_config_file(file: Path, flag: str = "--config") -> ConfigFile:
    """Read a mapping of options.

    Two keys are not options. `extends: other.yaml`, or a list of files, takes over their options first; paths are
    relative to the file, a later file wins, and the file's own options win over all. `published:` is a mapping that
    training has no use for; it is not taken over from files that are extended.

    Args:
        flag: named in messages on a file that cannot be read.

    Raises:
        UserError: a file is missing, not YAML, not a mapping, gives a key twice or extends itself.
    """
    return _read(file, f"{flag} {file}", ())


def _read(file: Path, called: str, chain: tuple[Path, ...]) -> ConfigFile:
    mapping, lines = read_mapping(file, called)
    here = {key: f"{file}:{line}" for key, line in lines.items()}
    extended, published = mapping.pop(EXTENDS, []), mapping.pop(PUBLISHED, {})
    if not isinstance(published, dict):
        raise UserError(f"{here[PUBLISHED]}: {PUBLISHED}: needs a mapping such as {{method: RotatE, mrr: 35.0}}")
    names = [extended] if isinstance(extended, str) else extended
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{here[EXTENDS]}: {EXTENDS}: needs a file name or a list of them")
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    for name in names:
        other = file.parent / name
        if other.resolve() in (*chain, file.resolve()):
            raise UserError(f"{here[EXTENDS]}: {EXTENDS} {name}: leads back to itself; remove it")
        base = _read(other, f"{here[EXTENDS]}: {EXTENDS} {name}", (*chain, file.resolve()))
        values |= base.values
        places |= base.places
    return ConfigFile(values | mapping, places | {key: here[key] for key in mapping}, published)


def read_mapping(file: Path, called: str) -> tuple[dict[str, Any], dict[str, int]]:
    """The mapping in a YAML file ({} of an empty one) and the line of each key; `called` names it in messages."""
    try:
        text = file.read_text(encoding="utf-8")
        loader = _Loader(text)
        tree = loader.get_single_node()
        # Before the values are made, which writes what `<<:` merges into the tree.
        pairs = tree.value if isinstance(tree, yaml.MappingNode) else []
        lines = {str(key.value): key.start_mark.line + 1 for key, _ in pairs}
        _check_keys(tree, file, set())
        values = loader.construct_document(tree) if tree else None
    except FileNotFoundError:
        raise UserError(f"{called}: no such file; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{called}: cannot be read ({error}); give a YAML file in UTF-8") from None
    except yaml.YAMLError as error:
        raise UserError(f"{called}: not YAML ({error}); write one `option: value` a line") from None
    except ValueError as error:  # 2024-30-01 has the form of a date, and is none
        raise UserError(f"{called}: holds a value that cannot be ({error}); put it in quotes if it is a text") from None
    if values is None:
        return {}, {}
    if not isinstance(values, dict):
        raise UserError(f"{called}: not a mapping; write one `option: value` a line")
    merged = lines.get("<<", 1)
    named = {str(key): value for key, value in values.items()}
    return named, {key: lines.get(key, merged) for key in named}


def _check_keys(node: Any, file: Path, seen: set[int]) -> None:
    """Raise UserError for a key that stands twice in one mapping, of which YAML would keep the last."""
    if id(node) in seen or not isinstance(node, yaml.CollectionNode):
        return
    seen.add(id(node))
    is_mapping, keys = isinstance(node, yaml.MappingNode), set()
    for key, value in node.value if is_mapping else ((None, part) for part in node.value):
        if isinstance(key, yaml.ScalarNode):
            if key.value in keys:
                raise UserError(f"{file}:{key.start_mark.line + 1}: {key.value}: given twice; keep one of them")
            keys.add(key.value)
        _check_keys(value, file, seen)
