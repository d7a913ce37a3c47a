"""Analysing a trained run: its spaces, what connects them, its sampler and its training."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmrns.analysis.draws import sampled
from mmrns.analysis.facts import Facts
from mmrns.analysis.guide import measure
from mmrns.analysis.hardness import hardness
from mmrns.analysis.maps import maps
from mmrns.analysis.measures import quality
from mmrns.analysis.result import Analysis, Map, Moment, Options, Retrieval, SpaceQuality
from mmrns.analysis.retrieval import FOLDS, retrieval
from mmrns.analysis.sampling import attention_shift, relation_effect
from mmrns.analysis.spaces import Space, spaces
from mmrns.errors import UserError
from mmrns.explanation import Explainer
from mmrns.inference import TrainedModel
from mmrns.training.history import read_history

Rows = NDArray[np.int64]

# Every target is ranked for every source, so the work grows with the square.
_MOST_RETRIEVED = 1500


def analyze(
    run: str | Path | TrainedModel | Explainer,
    options: Options | None = None,
    progress: Callable[[str], None] | None = None,
) -> Analysis:
    """Judge the embeddings, features and attention outputs of a run's selected checkpoint.

    Args:
        run: folder that mmrns train wrote, or what was read from it.
        options: how much is looked at; equal options give equal numbers.
        progress: called with what is being judged next.

    Raises:
        UserError: not a run folder, a damaged file, a graph that is not the run's, vectors that are not finite, or
            options out of range.
    """
    options = options or Options()
    _check(options)
    explainer = run if isinstance(run, Explainer) else Explainer(run)
    facts = Facts(explainer.dataset)
    facts.taxonomy(options.taxonomy)  # a wrong name is an error before any work
    found = spaces(explainer)
    for space in found:
        _check_finite(space, explainer, options)
    trained = explainer.trained
    say = progress or (lambda _: None)
    qualities = []
    for space in found:
        say(space.name)
        qualities.append(_quality(space, explainer, facts, options))
    say("retrieval, hardness, maps")
    return Analysis(
        run=str(trained.run.path),
        dataset=explainer.dataset.name,
        model=trained.config.model,
        sampler=trained.config.sampler if trained.config.samples else "none",
        seed=trained.config.seed,
        step=trained.step,
        options=options,
        spaces=qualities,
        retrieval=_retrieval(found, facts, options),
        hardness=hardness(explainer, options),
        history=_history(trained),
        notes=_notes(explainer, facts, found, options),
        maps=_maps(found, options),
    )


def _check(options: Options) -> None:
    for option in fields(Options):
        least = option.metadata["least"]
        value = getattr(options, option.name)
        if least is not None and value < least:
            raise UserError(f"--{option.name.replace('_', '-')} {value}: give at least {least}")


def _check_finite(space: Space, explainer: Explainer, options: Options) -> None:
    if not np.isfinite(space.gather(sampled(space.rows, options))).all():
        where = explainer.trained.run.path
        raise UserError(f"{where}: {space.title.lower()} are not finite: the training diverged; train anew")


def _quality(space: Space, explainer: Explainer, facts: Facts, options: Options) -> SpaceQuality:
    found = quality(space, facts, options)
    if space.under is None:
        return found
    effect = relation_effect(space, explainer.dataset.train[:, 1], space.rows, options)
    shift = attention_shift(explainer, space.name.removeprefix("kca-"), options)
    return replace(found, measures=[*found.measures, effect, *([shift] if shift else [])])


def _retrieval(found: list[Space], facts: Facts, options: Options) -> list[Retrieval]:
    """Image to text and back, of the features and of what the sampler makes of them."""
    by_name = {space.name: space for space in found}
    results = []
    for prefix in ("", "kca-"):
        pair = [by_name[name] for name in (f"{prefix}image", f"{prefix}text") if name in by_name]
        if len(pair) < 2:
            continue
        common = np.intersect1d(pair[0].rows, pair[1].rows)
        rows = sampled(common, replace(options, sample=min(options.sample, _MOST_RETRIEVED)))
        if len(rows) < 2 * FOLDS:
            continue
        relevance = facts.overlaps(rows, rows)
        np.fill_diagonal(relevance, 1.0)  # an entity without facts is still its own answer
        vectors = [space.gather(rows) for space in pair]
        rng = np.random.default_rng([options.seed, 7])
        noise = [rng.standard_normal(each.shape) for each in vectors]
        for one, other in ((0, 1), (1, 0)):
            values = retrieval(vectors[one], vectors[other], relevance, options.seed)
            random = retrieval(noise[one], noise[other], relevance, options.seed)
            measures = [measure(name, values[name], random[name], len(rows)) for name in values]
            results.append(Retrieval(pair[one].name, pair[other].name, len(rows), measures))
    return results


def _maps(found: list[Space], options: Options) -> list[Map]:
    made = []
    for space in found:
        if not space.of_entities or not options.map_points:
            continue
        rows = sampled(space.rows, replace(options, sample=options.map_points))
        if methods := maps(space.gather(rows), options.seed):
            made.append(Map(space.name, rows.tolist(), methods))
    return made


def _history(trained: TrainedModel) -> list[Moment]:
    names = ("embedding/alignment", "embedding/uniformity")
    lines = read_history(trained.run.history_file)
    return [
        Moment(int(line["step"]), *(float(line[name]) for name in names))
        for line in lines
        if all(name in line for name in names)
    ]


def _notes(explainer: Explainer, facts: Facts, found: list[Space], options: Options) -> list[str]:
    """What is missing, and why."""
    names = {space.name for space in found}
    notes = []
    for modality in ("image", "text"):
        if modality not in names:
            notes.append(f"no {modality} features, so no measures of them: mmrns extract makes features")
    if explainer.sampler is None:
        sampler = (
            explainer.trained.config.sampler if explainer.trained.config.samples else "an objective over all entities"
        )
        notes.append(f"no sampler vectors (KCA) and no hardness: {sampler} does not choose negatives by likeness alone")
    elif explainer.sampler.attention is None:
        notes.append("no sampler vectors of pictures and texts: this run's sampler judges likeness by structure alone")
    if len({name for name in facts.types if name}) < 2:
        notes.append('no categories and no probe: entities.jsonl gives fewer than two values of "type"')
    if facts.taxonomy(options.taxonomy) is None:
        notes.append("no hierarchy: no relation is named as one; --taxonomy RELATION names it")
    if not _history(explainer.trained):
        notes.append("no course of alignment and uniformity: history.jsonl of this run does not have them")
    return notes
