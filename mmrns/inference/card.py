"""The model card of a trained run: what it is, what it was measured on, its limits, and how to use it."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from mmrns.errors import UserError
from mmrns.files import read_json
from mmrns.graph.dataset import SPLITS, dataset_folder
from mmrns.graph.held_out import dataset_of

if TYPE_CHECKING:
    from mmrns.inference.trained import TrainedModel

DATA_LICENCE = "DATA-LICENSE"
"""Name that the licence file of a dataset takes beside a model."""

_METRICS = {"mrr": "MRR", "hits@1": "Hits@1", "hits@3": "Hits@3", "hits@10": "Hits@10"}
_OPTIONS = (
    "model", "model_options", "encoder", "dim", "gamma", "reciprocal", "objective", "sampler", "sampler_options",
    "num_negatives", "pool_size", "batch_size", "optimizer", "learning_rate", "seed",
)  # fmt: skip


def model_card(trained: "TrainedModel", license: str | None = None) -> ModelCard:
    """The card of a run, with the hub's metadata; `license` as in `TrainedModel.generate_model_card`."""
    name = Path(trained.config.dataset).name
    metrics = _if_there(trained.run.metrics_file)
    licence_file = licence_of(trained)
    data = ModelCardData(
        model_name=f"{trained.config.model}-{name}",
        library_name="mmrns",
        pipeline_tag="graph-ml",
        tags=["knowledge-graph-completion", "link-prediction", trained.config.model, trained.config.sampler],
        eval_results=_eval_results(name, metrics["test"]["both"]) if metrics else None,
        **_licence_data(license, licence_file),
    )
    title = f"# {trained.config.model} on {name}"
    parts = [title, _what(trained, name), _use(trained), _data(trained, metrics), _results(metrics), _training(trained)]
    parts += [_limits(trained, metrics), _licence(license, licence_file)]
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n")


def licence_of(trained: "TrainedModel") -> Path | None:
    """The licence file that came with the model, or that of its dataset if that is here and has one."""
    folders = [trained.run.path.glob(DATA_LICENCE)]
    with contextlib.suppress(UserError):
        folders.append(dataset_folder(trained.config.dataset).glob("LICEN[CS]E*"))
    return next((path for found in folders for path in sorted(found) if path.is_file()), None)


def _if_there(path: Path) -> Any:
    return read_json(path, "restore the file") if path.is_file() else None


def _eval_results(dataset: str, test: dict[str, float]) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="graph-ml",
            task_name="Link prediction",
            dataset_type=dataset,
            dataset_name=dataset,
            dataset_split="test",
            metric_type=metric,
            metric_name=f"{shown} (filtered, both directions)",
            metric_value=test[metric],
        )
        for metric, shown in _METRICS.items()
    ]


def _licence_data(license: str | None, licence_file: Path | None) -> dict[str, Any]:
    if license:
        return {"license": license}
    if licence_file:
        return {"license": "other", "license_name": "licence-of-the-data", "license_link": DATA_LICENCE}
    return {}


def _what(trained: "TrainedModel", dataset: str) -> str:
    return (
        f"This model completes the knowledge graph `{dataset}`: it scores every entity as the answer of (head, "
        f"relation, ?) and of (?, relation, tail). It was trained with `mmrns`; this is the checkpoint of step "
        f"{trained.step}."
    )


def _use(trained: "TrainedModel") -> str:
    head, relation = trained.entities.ids[0], trained.relations.ids[0]
    return f"""## How to use it

```python
from mmrns import load

model = load("OWNER/NAME")  # this repository, or a folder with these files
for answer in model.predict(head={head!r}, relation={relation!r}, k=5):
    print(answer.rank, answer.label, answer.score)
```

`mmrns predict OWNER/NAME --head … --relation …` does the same; names are ids or labels. Higher scores are more
plausible; the order means something, their size does not."""


def _data(trained: "TrainedModel", metrics: Any) -> str:
    lines = [
        f"- {len(trained.entities):,} entities (SHA-256 of their ids `{trained.entities.sha256}`) and "
        f"{len(trained.relations):,} relations (`{trained.relations.sha256}`); `vocabulary.json` lists them."
    ]
    try:
        dataset = dataset_of(trained.config)
        trained.check_fits(dataset)
        lines.append("- Triples: " + ", ".join(f"{len(dataset.split(split)):,} {split}" for split in SPLITS) + ".")
    except UserError:
        lines.append("- The dataset was not at hand when this card was written.")
    features = (metrics or {}).get("features") or []
    lines.append(f"- Features of entities in training: {', '.join(features) if features else 'none'}.")
    return "## Data\n\n" + "\n".join(lines)


def _results(metrics: Any) -> str:
    if not metrics:
        return "## Results\n\nThe run had not ended when this card was written, so nothing was measured on test."
    selection, protocol = metrics["selection"], metrics["protocol"]
    last = selection.get("split") in (None, "none")
    chosen = "as the last one" if last else f"by {selection['metric']} on {selection['split']}"
    sample = sample_of(metrics)
    rows = [
        "| queries | MRR | Hits@1 | Hits@3 | Hits@10 | mean rank | number |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for part in ("both", "head", "tail", "seen", "unseen"):
        found = metrics["test"].get(part)
        if found and found["count"]:
            rates = " | ".join(f"{found[metric]:.4f}" for metric in _METRICS)
            rows.append(f"| {part} | {rates} | {found['mr']:.1f} | {found['count']:,} |")
    return (
        "## Results\n\nTest split, over all entities, filtered by "
        f"{protocol['filter']}, ties at their {protocol['ties']} rank; one run, seed {metrics['seed']}; the checkpoint "
        f"was selected {chosen}. `unseen` are queries with an entity that train does not show."
        + (f" {sample}" if sample else "")
        + "\n\n"
        + "\n".join(rows)
    )


def sample_of(metrics: dict[str, Any]) -> str:
    """Which part of valid and test was ranked, as a sentence; "" where all of both was."""
    sample = metrics.get("protocol", {}).get("sample")
    if not sample:
        return ""
    parts = [f"{sample['triples']:,} of the {number:,} triples of {split}" for split, number in sample["of"].items()]
    return f"Ranked were {' and '.join(parts)}, drawn at random with seed {sample['seed']}."


def _training(trained: "TrainedModel") -> str:
    values = trained.config.model_dump()
    rows = [f"| `{name}` | `{values[name]}` |" for name in _OPTIONS if values[name] not in ({}, "")]
    environment = _if_there(trained.run.environment_file) or {}
    versions = environment.get("versions") or {}
    made = [f"{package} {versions[package]}" for package in ("mmrns", "torch") if versions.get(package)]
    made += [f"commit {environment['git_commit']}"] if environment.get("git_commit") else []
    made_with = f"\n\nMade with {', '.join(made)}." if made else ""
    return "\n".join(["## Training", "", "| option | value |", "| --- | --- |", *rows]) + (
        f"\n\n`config.yaml` has every option; `mmrns train --config config.yaml` trains it anew.{made_with}"
    )


def _limits(trained: "TrainedModel", metrics: Any) -> str:
    calibrated = (trained.run.path / "calibration.json").is_file()
    lines = [
        "- It knows the entities and relations of `vocabulary.json` and no others.",
        "- It ranks what is plausible given the training facts, and repeats their gaps and biases. Check an answer "
        "before you rely on it.",
        "- Scores are no probabilities" + ("; `calibration.json` makes some of them." if calibrated else "."),
    ]
    unseen = ((metrics or {}).get("test") or {}).get("unseen")
    if unseen and unseen.get("count"):
        lines.append(f"- Entities without a training fact are answered worse: MRR {unseen['mrr']:.4f} on test.")
    if any(":" in choice for choice in (trained.config.model, trained.config.encoder)):
        lines.append(
            f"- It needs code that is not in `mmrns` (`{trained.config.model}`, `{trained.config.encoder}`) to load."
        )
    return "## Limits\n\n" + "\n".join(lines)


def _licence(license: str | None, licence_file: Path | None) -> str:
    said = f"This model is shared under `{license}`. " if license else ""
    if licence_file:
        said += f"It was made from data under the terms in [{DATA_LICENCE}]({DATA_LICENCE}); respect them."
    elif not license:
        said += "No licence file was found with the data. Ask whoever shared this model before you use it."
    return f"## Licence\n\n{said.strip()}"
