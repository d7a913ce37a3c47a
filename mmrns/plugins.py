"""Finding a class by name: one file in a package is one choice, and `module:Class` is a user's own."""

import importlib
import inspect
import pkgutil
import sys
from functools import cache
from pathlib import Path

from mmrns.errors import UserError


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
        UserError: unknown name, module that cannot be imported, or a class of the wrong kind.
    """
    if ":" not in name:
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
    return found
