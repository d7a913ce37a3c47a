"""An analysis as text for the terminal."""

from collections.abc import Iterable

from mmrns.analysis import Analysis, Measure
from mmrns.report.tables import markdown_table

_HEADER = ["measure", "value", "random", "better", "of", ""]


def as_text(analysis: Analysis) -> str:
    """Every space with a table of its measures, what they mean, and what helps where one is a concern."""
    a = analysis
    lines = [
        f"{a.run}: {a.model} trained with {a.sampler} negatives on {a.dataset}, seed {a.seed}, checkpoint of step "
        f"{a.step}",
        "random: the same computation on independent normal vectors of the same shape.  !: a concern",
    ]
    lines += [f"note: {note}" for note in a.notes]
    for space in a.spaces:
        looked = "" if space.sampled == space.vectors else f", a sample of {space.sampled}"
        lines += ["", f"## {space.title}: {space.vectors} vectors of width {space.width}{looked}", ""]
        lines += _measures(space.measures)
    for found in a.retrieval:
        lines += ["", f"## From {found.source} to {found.target}, among {found.candidates} entities", ""]
        lines += _measures(found.measures)
    if a.hardness is not None:
        h = a.hardness
        lines += [
            "",
            f"## Hardness of the sampler's negatives, over {h.questions} of train's questions",
            "",
            f"mean score of a draw {h.expected_score:.3f}, of a uniform draw {h.uniform_score:.3f}; harder for "
            f"{h.harder:.1%} of the questions",
            f"entropy {h.entropy:.4f} (1: uniform); probability of drawing a held-out answer {h.held_out_mass:.5f} "
            f"(uniform: {h.uniform_held_out_mass:.5f})",
            h.reading,
        ]
    if a.history:
        rows = [[str(m.step), f"{m.alignment:.4f}", f"{m.uniformity:.4f}"] for m in a.history]
        lines += [
            "",
            "## Entity embeddings over training",
            "",
            markdown_table(["step", "alignment", "uniformity"], rows),
        ]
    return "\n".join(lines)


def _measures(measures: list[Measure]) -> Iterable[str]:
    if not measures:
        yield "too few vectors to judge"
        return
    yield markdown_table(_HEADER, [
        [m.title, _number(m.value), _number(m.random), m.better, str(m.count), "!" if m.concern else ""]
        for m in measures
    ])  # fmt: skip
    yield ""
    for m in measures:
        yield f"- {m.title}: {m.reading}" + (f". What helps: {m.remedy}" if m.remedy else "")


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if 0 < abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.4f}"
