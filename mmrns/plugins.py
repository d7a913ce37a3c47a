"""Finding a class by name: one file in a package is one choice, and `module:Class` is a user's own.

What a class of one's own gives is looked at once, so that one line names the class where it gives something else.
"""

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrns.errors import UserError

if TYPE_CHECKING:
    from torch import nn


@cache
def choices(package: str, base: type) -> dict[str, type]:
    """Every concrete subclass of `base` defined in a module of `package`, by its lower-case class name.

    Dropping a file into the package is all it takes to add a choice: there is no list to edit.
    """
    found: dict[str, type] = {}
    for module_info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        module = importlib.import_module(f"{package}.{module_info.name}")
        for _, member in inspect.getmembers(module, inspect.isclass):
            if member.__module__ == module.__name__ and issubclass(member, base) and not inspect.isabstract(member):
                found[member.__name__.lower()] = member
    return dict(sorted(found.items()))


def first_line(thing: object) -> str:
    """The first line of what a thing says about itself; empty where it says nothing."""
    return (thing.__doc__ or "").strip().partition("\n")[0]


def find(flag: str, name: str, package: str, base: type) -> type:
    """The class called `name` in `package`, or the one at `module:Class`.

    Args:
        flag: the option that holds the name, for the error message, e.g. "--model".
        name: a choice (any case) or "module:Class"; the current folder is importable.
        package: where the built-in choices live.
        base: what the class must derive from.

    Raises:
        UserError: unknown name, module that cannot be imported, or a class of the wrong kind or without a method.
    """
    if not is_own(name):
        known = choices(package, base)
        if name.lower() not in known:
            raise UserError(f"{flag} {name}: unknown; choose one of {', '.join(known)}, or module:Class for your own")
        return known[name.lower()]
    module_name, _, class_name = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (Exception, SystemExit) as error:  # a user's module may raise anything while it is imported
        raise UserError(
            f"{flag} {name}: cannot be imported ({type(error).__name__}: {error}); "
            "write module:Class, importable from here"
        ) from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UserError(f"{flag} {name}: is not a {base.__name__}; derive it from {base.__module__}.{base.__name__}")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        raise UserError(f"{flag} {name}: does not define {missing}; see {base.__module__}.{base.__name__}")
    return found


def is_own(name: str) -> bool:
    """Whether a name is module:Class, a class of the user's own."""
    return ":" in name


def not_made(flag: str, name: str, options: Mapping[str, Any] | None, error: Exception) -> UserError:
    """The error of a class that could not be made; it is about the options where there were any."""
    if options:
        return UserError(f"{flag}-options: {name} does not take them ({error}); see its docstring")
    return UserError(f"{flag} {name}: cannot be made ({error}); see its docstring")


def check_score(name: str, scoring: "nn.Module", width: int, relation_width: int) -> None:
    """Raise UserError where the `score` of a user's own scoring function does not give a number for each triple.

    Args:
        name: module:Class.
        scoring: a ScoringFunction.
        width: of an entity's vector.
        relation_width: of a relation's.
    """
    import torch  # `mmrns --help` does not wait for it

    shapes = (2, 1, width), (2, 1, relation_width), (2, 3, width)
    vectors = [torch.linspace(-1, 1, shape[0] * shape[1] * shape[2]).view(shape) for shape in shapes]
    try:
        # A score that draws at random leaves the draws of training alone.
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            found = scoring.score(*vectors)  # type: ignore[operator]
    except Exception as error:  # whatever a user's class raises
        of = ", ".join(map(str, shapes))
        raise UserError(
            f"--model {name}: score fails on head, relation and tail of {of}, which must broadcast "
            f"({type(error).__name__}: {error}); mend it"
        ) from error
    given = tuple(found.shape) if isinstance(found, torch.Tensor) else f"a {type(found).__name__}"
    if given != (2, 3):
        mend = "sum over the last axis" if given[:2] == (2, 3) else "give a number for each triple"
        raise UserError(f"--model {name}: score gives {given}, not (2, 3): {mend}")


def check_drawn(name: str, drawn: object, kind: type, queries: int, entities: int) -> None:
    """Raise UserError where a user's own sampler did not draw rows of entities for each query.

    Args:
        name: module:Class.
        drawn: what its `draw` gave.
        kind: what that must be, Negatives.
        queries: how many they are.
        entities: of the graph.
    """
    import torch

    said = f"--sampler {name}: draw gives"
    if not isinstance(drawn, kind):
        raise UserError(f"{said} a {type(drawn).__name__}, not {kind.__name__}; return {kind.__name__}(ids)")
    ids = drawn.ids  # type: ignore[attr-defined]
    if not isinstance(ids, torch.Tensor) or ids.is_floating_point():
        kind_of = ids.dtype if isinstance(ids, torch.Tensor) else f"a {type(ids).__name__}"
        raise UserError(f"{said} ids that are {kind_of}; make them a tensor of torch.int64")
    if ids.ndim != 2 or len(ids) != queries:
        raise UserError(f"{said} ids of {tuple(ids.shape)}, not ({queries}, n): draw n for each query")
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < entities:
        raise UserError(
            f"{said} ids from {int(ids.min())} to {int(ids.max())}; those of the entities are from 0 to {entities - 1}"
        )
