"""An explanation as text for the terminal."""

from mmrns.explanation.regions import Regions
from mmrns.explanation.result import Attention, Explanation, Sampling, Shown, Side
from mmrns.report.tables import markdown_table

# A grid of more cells is for the eye: --png.
_MOST_CELLS = 25


def as_text(explanation: Explanation, regions: Regions | None) -> str:
    """Every part of the explanation, tables in Markdown."""
    e = explanation
    known = f"known: {e.split}" if e.split else "not a known fact"
    lines = [
        f"{e.head.label} -- {e.relation_label} -> {e.tail.label}   ({known}, score {e.score:.3f})",
        f"{e.run}: {e.model} trained with {e.sampler} negatives on {e.dataset}, checkpoint of step {e.step}",
    ]
    lines += [f"note: {note}" for note in e.notes]
    for side in e.sides:
        question = (
            (e.head.label, e.relation_label, "?") if side.asks == "tail" else ("?", e.relation_label, e.tail.label)
        )
        lines += ["", f"## ({', '.join(question)})", "", *_ranking(side)]
        if side.sampling is not None:
            lines += ["", *_negatives(side.sampling, side.answer)]
        for attended in side.attention:
            lines += ["", *_attention(attended, side.answer, e.relation_label, regions)]
    return "\n".join(lines)


def _ranking(side: Side) -> list[str]:
    ties = "" if side.optimistic == side.pessimistic else f" ({side.optimistic} to {side.pessimistic} with ties)"
    known = {split: count for split, count in side.above.items() if split != "new" and count}
    said = ", ".join(f"{count} in {split}" for split, count in known.items())
    rows = [
        [
            str(answer.place),
            ("> " if answer.asked else "") + answer.entity.label,
            answer.entity.id,
            f"{answer.score:.3f}",
            answer.known or "new",
        ]
        for answer in side.ranking
    ]
    return [
        f"{side.answer.label} ranks {side.rank:g}{ties} of {side.candidates}. Above it: {side.above['new']} new"
        + (f", and known answers that the rank leaves out: {said}" if said else ""),
        "",
        markdown_table(["place", "answer", "id", "score", "known"], rows),
    ]


def _negatives(sampling: Sampling, answer: Shown) -> list[str]:
    modalities = list(sampling.negatives[0].similarity) if sampling.negatives else []
    rows = [
        [
            negative.entity.label,
            negative.entity.id,
            f"{negative.probability:.5f}",
            f"{negative.times_uniform:.1f}",
            *("-" if value is None else f"{value:.3f}" for value in negative.similarity.values()),
            f"{negative.score:.3f}",
            f"true ({negative.known})" if negative.known else "",
        ]
        for negative in sampling.negatives
    ]
    header = ["negative", "id", "probability", "x uniform", *modalities, "score", "held out"]
    return [
        f"Negatives like {answer.label}, of {sampling.candidates} that the sampler may draw: epsilon "
        f"{sampling.epsilon:.3f}, entropy {sampling.entropy:.3f} (1: uniform),",
        f"mean score of a draw {sampling.expected_score:.3f} (uniform: {sampling.uniform_score:.3f}), "
        f"probability of drawing a held-out answer {sampling.held_out_mass:.5f}",
        "",
        markdown_table(header, rows),
    ]


def _attention(attended: Attention, entity: Shown, relation: str, regions: Regions | None) -> list[str]:
    title = f"Attention on the {attended.modality} of {entity.label}, without and with '{relation}', and its gate"
    if not attended.weight_free:
        return [f"{title}: it has no {attended.attended_from} to attend from, so all of it counts evenly"]
    if attended.modality == "image" and regions is not None:
        return [f"{title} (shares in per cent; gate in 0 to 1)", *_grids(attended, regions)]
    lines = [f"{title} (share, share, gate in 0 to 1)"]
    for number, there in enumerate(attended.present):
        if there:
            unit = entity.texts[number] if attended.modality == "text" and number < len(entity.texts) else ""
            shares = f"{attended.weight_free[number]:.3f}  {attended.weight_guided[number]:.3f}"
            lines.append(f"  {shares}  {attended.weight_gate[number]:.3f}  {unit or f'token {number + 1}'}")
    return lines


def _grids(attended: Attention, regions: Regions) -> list[str]:
    """Grids of a number a region side by side, for pictures cut into few regions."""
    tokens = len(attended.present)
    side = round(tokens**0.5)
    if side * side != tokens or tokens > _MOST_CELLS:
        order = sorted(range(tokens), key=lambda token: -attended.weight_guided[token])[:3]
        first = ", ".join(f"{token + 1} ({attended.weight_guided[token]:.1%})" for token in order)
        return [f"  {tokens} regions; the strongest with the relation: {first}. --png draws them"]
    lines = []
    for row in range(side):
        at = slice(row * side, (row + 1) * side)
        shares = [
            " ".join(f"{100 * w:5.1f}" for w in part[at]) for part in (attended.weight_free, attended.weight_guided)
        ]
        gates = " ".join(f"{value:5.3f}" for value in attended.weight_gate[at])
        lines.append("  " + "     ".join([*shares, gates]))
    return lines
