"""Figures as SVG inside a page: in its font and its colours, which dark mode changes, with ids that clash with none."""

import io
import re
import unicodedata
import warnings
import xml.etree.ElementTree as ET
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Drawn in these, and replaced by variables of the page's style sheet.
INK, QUIET, LINE, PAPER = "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04"
SERIES = tuple(f"#0a0c{number:02x}" for number in range(8))
_VARIABLES = {INK: "ink", QUIET: "quiet", LINE: "line", PAPER: "paper"} | {
    colour: f"series-{number}" for number, colour in enumerate(SERIES)
}
STYLE: Any = {
    "font.size": 9.5, "text.parse_math": False, "svg.fonttype": "none",
    "text.color": INK, "axes.labelcolor": QUIET, "axes.edgecolor": LINE, "xtick.color": LINE, "ytick.color": LINE,
    "xtick.labelcolor": QUIET, "ytick.labelcolor": QUIET, "grid.color": LINE, "grid.linewidth": 0.6,
    "axes.grid": True, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
    "axes.facecolor": "none", "legend.frameon": False, "legend.fontsize": 9, "lines.linewidth": 1.8,
    "lines.markersize": 4, "axes.xmargin": 0.03,
}  # fmt: skip
_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
ET.register_namespace("", _SVG.strip("{}"))


def plain(text: str) -> str:
    """A label that any file can hold: without control characters, halves of characters, and what XML allows nowhere."""
    return "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cs") and c not in "\ufffe\uffff")


def inline_svg(figure: Figure, name: str, label: str) -> Markup:
    """The figure as an <svg> element that scales to its place.

    Args:
        name: of the figure in its page, unique there; ids begin with it.
        label: what a screen reader says of it.
    """
    buffer = io.BytesIO()
    FigureCanvasSVG(figure)
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with warnings.catch_warnings(), rc_context(STYLE | {"svg.hashsalt": name}):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the page's own fonts may have it
        figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    root = ET.fromstring(buffer.getvalue())
    _clean(root, name)
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    root.attrib |= {"role": "img", "aria-label": label, "class": "chart"}
    return Markup(ET.tostring(root, encoding="unicode"))


def _clean(root: ET.Element, name: str) -> None:
    """Prefix ids, replace colours and fonts, and take out matplotlib's own style sheet, which would be the page's."""
    for parent in root.iter():
        for child in list(parent):
            if child.tag in (f"{_SVG}style", f"{_SVG}metadata"):
                parent.remove(child)
    used = set()
    for element in root.iter():
        if _XLINK + "href" in element.attrib:
            element.set("href", element.attrib.pop(_XLINK + "href"))
        for key in ("href", "clip-path"):
            if key in element.attrib:
                used.add(element.attrib[key].removeprefix("url(").rstrip(")").removeprefix("#"))
                element.set(key, element.attrib[key].replace("#", f"#{name}-"))
        if "style" in element.attrib:
            element.set("style", _style(element.attrib["style"]))
    for element in root.iter():
        identifier = element.attrib.pop("id", None)
        if identifier in used:
            element.set("id", f"{name}-{identifier}")


def _style(style: str) -> str:
    for colour, variable in _VARIABLES.items():
        style = style.replace(colour, f"var(--{variable})")
    return re.sub(r"font-family: [^;]*", "font-family: inherit", style)
