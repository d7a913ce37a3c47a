"""HTML from the templates: one file that asks for nothing else. Labels are data: everything is escaped."""

import base64
import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from mmrns.config import Config
from mmrns.errors import UserError
from mmrns.files import write_text
from mmrns.report.thumbnails import thumbnail

GENERATOR = "mmrns report"
_MARK = f'<meta name="generator" content="{GENERATOR}'


def render(template: str, **values: Any) -> str:
    """A page from mmrns/report/templates; halves of characters, which no file can hold, become question marks."""
    page = _environment().get_template(template).render(**values)
    return page.encode("utf-8", "replace").decode("utf-8")


def check_output(path: Path) -> None:
    """Raise UserError where a page cannot go: a folder, or a file that this program did not make."""
    if path.is_dir():
        raise UserError(f"--output {path}: is a folder; give a file such as {path / 'report.html'}")
    if path.exists() and _MARK.encode() not in path.read_bytes()[:2000]:
        raise UserError(f"--output {path}: is there already and was not made by mmrns report; give another name")


def write_page(page: str, path: Path) -> None:
    """Write a page, over an older one if need be; UserError as `check_output`."""
    check_output(path)
    write_text(path, page)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("mmrns.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "percent": percent,
        "interval": interval,
        "signed": lambda value: f"{value:+.4f}",
        "count": lambda value: f"{value:,}",
        "joined": lambda text: text.replace(" %", "\N{NO-BREAK SPACE}%"),
        "thumbnail": thumbnail,
        "options": _options,
    }
    script = _source("script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals |= {
        "style": Markup(_source("style.css")),
        "script": Markup(script),
        "script_hash": f"sha256-{digest}",
        "generator": f"{GENERATOR} {version('mmrns')}",
    }
    return environment


def _source(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def number(value: float | None, digits: int = 4) -> Markup:
    """A number as people read it, with all its digits for programs."""
    if value is None:
        return Markup("–")
    return Markup('<data value="{}">{}</data>').format(repr(value), f"{value:.{digits}f}")


def percent(value: float | None, digits: int = 1) -> Markup:
    """A fraction in per cent."""
    if value is None:
        return Markup("–")
    return Markup('<data value="{}">{}</data>').format(repr(value), f"{100 * value:.{digits}f} %")


def interval(low: float | None, high: float | None, digits: int = 3) -> Markup:
    """The bounds of an interval."""
    if low is None or high is None:
        return Markup("")
    return escape(f"{low:.{digits}f} to {high:.{digits}f}")


def _options(config: dict[str, Any]) -> list[tuple[str, Any, bool]]:
    """Name, value and whether it differs from the default, of every option; those that differ first."""
    fields = Config.model_fields
    rows = [(name, value, name not in fields or value != fields[name].default) for name, value in config.items()]
    return sorted(rows, key=lambda row: not row[2])
