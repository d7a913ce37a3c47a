"""Render SVG drawings to small square palette PNGs on white."""

from __future__ import annotations

import importlib
import io
from pathlib import Path

from pictokg.graph import Graph

PIXELS = 224
COLOURS = 64
MAX_PICTURES = 3
"""An entity keeps at most this many pictures."""


def render_pictures(graph: Graph, output: Path) -> dict[str, list[str]]:
    """Write `images/NNNN_K.png` for every pictured entity; returns the paths relative to the output folder."""
    (output / "images").mkdir(parents=True)
    paths: dict[str, list[str]] = {}
    for number, (id, entity) in enumerate(graph.entities.items()):
        paths[id] = []
        for index, drawing in enumerate(entity.pictures[:MAX_PICTURES]):
            relative = f"images/{number:04d}_{index}.png"
            (output / relative).write_bytes(render(drawing.read_text(encoding="utf-8")))
            paths[id].append(relative)
    return paths


def render(svg: str) -> bytes:
    """One drawing, scaled to fit and centred."""
    image_module = importlib.import_module("PIL.Image")
    rendered = importlib.import_module("resvg_py").svg_to_bytes(svg_string=svg, width=PIXELS)
    drawing = image_module.open(io.BytesIO(bytes(rendered))).convert("RGBA")
    drawing.thumbnail((PIXELS, PIXELS), image_module.Resampling.LANCZOS)
    square = image_module.new("RGBA", (PIXELS, PIXELS), "white")
    square.alpha_composite(drawing, ((PIXELS - drawing.width) // 2, (PIXELS - drawing.height) // 2))
    palette = square.convert("RGB").quantize(
        COLOURS, method=image_module.Quantize.MEDIANCUT, dither=image_module.Dither.NONE
    )
    png = io.BytesIO()
    palette.save(png, format="PNG", optimize=True)
    return png.getvalue()
