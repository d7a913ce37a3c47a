"""Training, top to bottom: read the graph, build the parts, step, validate, keep the best, evaluate once."""

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, DistributedType, InitProcessGroupKwargs, set_seed
from tqdm import tqdm

from mmrns.config import Config
from mmrns.errors import DivergedError, StoppedError, UserError
from mmrns.evaluation import evaluate_split, rank_triples, ranking_metrics
from mmrns.evaluation.geometry import EmbeddingCourse
from mmrns.evaluation.sample import SAMPLE_SEED, sampled_triples
from mmrns.features import FeatureStore
from mmrns.files import atomic_path, read_json, write_json
from mmrns.graph import Dataset, load_dataset
from mmrns.graph.answers import AnswerIndex
from mmrns.graph.held_out import as_seen, settle_validation, slice_sha256
from mmrns.memory import peak_memory_mb, tuned_process
from mmrns.processes import WAIT_FOR_OTHERS, Processes, check_device, on_cpu
from mmrns.scoring import KnowledgeGraphModel, Ranker
from mmrns.training.base import Objective
from mmrns.training.batches import Batches, derived_seed, on_device, total_steps
from mmrns.training.continuing import as_begun
from mmrns.training.history import History
from mmrns.training.objective import build_objective
from mmrns.training.optimizer import (
    build_optimizer,
    build_schedule,
    clip_gradients,
    continue_schedule,
    gradient_values,
    sparse_table,
)
from mmrns.training.precision import autocast_to, products_of, settle_precision
from mmrns.training.run_folder import RunFolder
from mmrns.training.state import Progress, load_state, save_state
from mmrns.training.stop_signal import StopSignal


@tuned_process()
def train(
    config: Config,
    resume: bool = False,
    on_validation: Callable[[int, dict[str, float]], None] | None = None,
    rank_test: bool = True,
) -> dict[str, Any]:
    """Train a run to its end and evaluate its best checkpoint.

    Args:
        config: every option. With the same config, seed and thread count, a CPU run gives the same bits again.
        resume: continue the run in config.run_folder from its last saved state, to the same bits on CPU, with the
            options that it was begun with, but for those that may change (`RESUMABLE`). Of a run that has ended, what
            metrics.json holds is returned and nothing is written.
        on_validation: called with the step and the metrics of valid after each validation; what it raises ends the run.
        rank_test: False leaves out the last evaluation, as a search on valid must.

    Returns:
        What metrics.json holds; without the last evaluation its keys on how the run went, and "best", the value of
        the selection metric.

    Raises:
        UserError: anything the user can mend, before the run folder is touched where it can be known by then.
    """
    # --- where: folder, device, precision, processes
    run = RunFolder(config.run_folder)
    if resume:
        config = as_begun(config, run)
    else:
        run.check_free()
    config = settle_precision(config)
    check_device(config.device)
    if not torch.distributed.is_initialized():  # else a second run in this process would keep the first one's device
        AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(
        cpu=on_cpu(config.device),
        mixed_precision=autocast_to(config),
        # Parameters may go unused, e.g. attention over a modality left out by --modalities.
        # Buffers are features, which are the same everywhere.
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False),
            InitProcessGroupKwargs(timeout=WAIT_FOR_OTHERS),
        ],
    )
    device = accelerator.device
    together = Processes(accelerator.num_processes, accelerator.process_index)
    if config.batch_size < together.number:
        raise UserError(f"--batch-size {config.batch_size}: {together.number} processes share a batch; make it larger")
    if config.threads:
        torch.set_num_threads(config.threads)
    set_seed(config.seed)

    # --- what: graph, features, model, sampler, objective
    dataset = load_dataset(config.dataset, "--dataset")
    config, why = settle_validation(_readable_from_anywhere(config, dataset), dataset)
    if why and together.main:
        tqdm.write(why, file=sys.stderr)
    dataset = as_seen(config, dataset)
    features = open_features(dataset, config, device)
    of_features = (features.sha256, features.path.parent) if features else ("", dataset.folder)
    plain = build_objective(config, dataset, features, device)
    model, sampler = plain.model, plain.sampler

    # --- in which steps
    examples = plain.examples(dataset).to(device)
    steps = total_steps(config, len(examples))
    batches = Batches.of(config, examples)
    # A launcher's process is wrapped as one of many even where it is the only one.
    launched = accelerator.distributed_type is not DistributedType.NO
    model.entities.sparse = sparse_table(config, model.entities, launched)
    optimizer = build_optimizer(config, plain)
    schedule = build_schedule(config, optimizer, steps)
    objective, optimizer = accelerator.prepare(plain, optimizer)
    parts = {"model": model, "sampler": sampler}
    embedding_course = EmbeddingCourse(dataset.answers("train"), derived_seed(config.seed, 3))

    # --- a new run folder, or the state of the one to continue
    with run.held(together):
        progress, continued = Progress(), resume and run.begun()
        if continued:
            run.check_fits(dataset)
            run.check_features(*of_features)
            progress = load_state(run.state_file, plain, optimizer, accelerator)
            continue_schedule(schedule, progress.step)
            progress.stopped = 0 < config.patience <= progress.since_best
            over = progress.stopped or progress.step >= steps
            ended = finished(run) if over else None
            if ended and ended["steps"] == progress.step:
                return ended if together.main else {}
        progress.valid_every = progress.valid_every or config.valid_every or max(1, steps // 10)
        checkpoint_every = config.checkpoint_every or progress.valid_every
        accelerator.wait_for_everyone()  # until all have seen the folder as it was
        if together.main:
            if not resume:
                run.claim(config)
            run.clear_partial_files()
            if continued and not over:
                run.forget_end()
            run.describe(config, dataset.entities, dataset.relations, of_features[0], anew=not continued)
        if together.main and not continued:
            run.save_weights(parts, step=0)
            save_state(run.state_file, progress, plain, optimizer, accelerator)
        accelerator.wait_for_everyone()

        generator, known = torch.Generator(device), dataset.answers().to(device)
        diverged = torch.zeros((), dtype=torch.bool, device=device)
        with (
            tqdm(total=steps, initial=progress.step, desc=run.path.name, unit="step", disable=not together.main) as bar,
            History(run.history_file, run.events, progress.step) if together.main else contextlib.nullcontext() as log,
            StopSignal() as stop,
        ):
            while progress.step < steps and not progress.stopped:
                step, started = progress.step + 1, time.perf_counter()
                measure, validate = step % config.log_every == 0, step % progress.valid_every == 0 or step == steps
                keep, asked = step % checkpoint_every == 0 or step == steps, False
                # Looking at what a GPU has done waits for it, so that is done where the run has a reason to.
                look = device.type == "cpu" or measure or validate or keep

                # --- one step
                rows = batches.rows(step, together.index, together.number)
                # Draws depend on seed, step and process alone, so that a resumed run repeats them.
                generator.manual_seed(derived_seed(config.seed, step, together.index, 1))
                # What is random beside them, such as dropout, must differ between processes too.
                if together.number > 1:
                    set_seed(derived_seed(config.seed, step, together.index, 4) % 2**32)
                with products_of(config):
                    result = objective(examples[on_device(rows, device)], step, generator, measure)
                    # Gradients are averaged over processes: this makes theirs the batch's where shares differ by a row.
                    accelerator.backward(result.loss * (len(rows) * together.number / config.batch_size))
                if measure or config.clip_gradient:
                    accelerator.unscale_gradients()
                norms = _gradient_norms(plain) if measure and log else {}
                if config.clip_gradient:
                    clip_gradients(objective.parameters(), config.clip_gradient)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad(set_to_none=True)

                if look and device.type == "cuda":
                    torch.cuda.synchronize(device)  # or the steps that it still works on would take no time
                progress.step = step
                progress.train_seconds += time.perf_counter() - started
                bar.update()
                if measure and log:
                    values = {name: float(value) for name, value in result.metrics.items()} | norms
                    values["learning_rate"] = float(schedule.get_last_lr()[0])
                    values["steps_per_second"] = step / progress.train_seconds
                    log.add("train", step, values)
                    bar.set_postfix(loss=f"{values['loss']:.4f}", best=f"{progress.best_value:.4f}")

                # --- nothing of a run that diverged is kept; all processes stop then
                diverged |= ~torch.isfinite(result.loss.detach())
                if look:
                    asked, failed = together.any(stop.asked, bool(diverged))
                    if failed:
                        raise DivergedError(
                            f"the loss is not a finite number at step {step}; lower --learning-rate or set "
                            "--clip-gradient"
                        )

                # --- look at valid, keep the best (or, with --selection last, whatever is newest)
                if validate:
                    chosen = _validate(model, dataset, known, config, together)
                    if log:
                        log.add("valid", step, chosen)
                        log.add("embedding", step, embedding_course(model))
                    progress.since_best += 1
                    if config.selection == "last" or chosen[config.metric] > progress.best_value:
                        progress.best_value, progress.best_step, progress.since_best = chosen[config.metric], step, 0
                        keep = True  # a continuation may take another course, and must know what these weights are
                        if together.main:
                            run.save_weights(parts, step)
                    progress.stopped = 0 < config.patience <= progress.since_best
                    if on_validation:
                        on_validation(step, chosen)

                # --- keep what a continuation needs
                if keep or asked or progress.stopped:
                    if together.main:
                        save_state(run.state_file, progress, plain, optimizer, accelerator)
                    if asked:
                        accelerator.wait_for_everyone()  # a launcher ends the others when one has ended
                        raise StoppedError(
                            f"stopped at step {step} as asked; continue with: mmrns train --resume {run.path}"
                        )

        # --- test is read once, by the best checkpoint
        accelerator.wait_for_everyone()
        if not rank_test:
            return _course(config, progress, dataset) | {"best": progress.best_value}
        run.load_weights({"model": model}, progress.best_step)
        return finish(run, config, dataset, features, model.to(device), progress, device, together)


def finish(
    run: RunFolder,
    config: Config,
    dataset: Dataset,
    features: FeatureStore | None,
    model: KnowledgeGraphModel,
    progress: Progress,
    device: torch.device,
    together: Processes,
) -> dict[str, Any]:
    """Evaluate the selected checkpoint on valid and test; write ranks.parquet, then metrics.json.

    Together with all processes; the main one writes and returns what it wrote, the others return nothing.
    """
    parts = rank_splits(("valid", "test"), run, model, dataset, features, config, device, together)
    if not together.main:
        return {}
    metrics = _course(config, progress, dataset) | {
        "protocol": _protocol(config, dataset),
        "features": list(features.modalities) if features else [],
        **parts,
        "peak_memory_mb": peak_memory_mb(),
    }
    write_json(run.metrics_file, metrics)
    return metrics


def rank_splits(
    splits: tuple[str, ...],
    run: RunFolder,
    model: Ranker,
    dataset: Dataset,
    features: FeatureStore | None,
    config: Config,
    device: torch.device,
    together: Processes,
) -> dict[str, dict[str, Any]]:
    """Metrics of each split by part, in every process; the main one writes the per-query ranks into the folder."""
    known = dataset.answers().to(device)
    parts = {}
    for split in splits:
        parts[split], table = evaluate_split(
            model, dataset, split, known, features, config.eval_memory_mb, config.eval_queries, together
        )
        if together.main:
            with atomic_path(run.ranks_file(split)) as temporary:
                table.to_parquet(temporary, index=False)
    return parts


def _course(config: Config, progress: Progress, dataset: Dataset) -> dict[str, Any]:
    """What was trained, for how long, and which step was selected."""
    return {
        "dataset": dataset.name,
        "triples_sha256": dataset.triples_sha256,
        "model": config.model,
        "sampler": config.sampler if config.samples else "none",
        "objective": config.objective,
        "seed": config.seed,
        "steps": progress.step,
        "selection": {
            "rule": config.selection,
            "split": {"last": "none", "best": "valid" if config.validation == "published" else "held-out"}[
                config.selection
            ],
            "metric": f"both.{config.metric}" if config.selection == "best" else "none",
            "step": progress.best_step,
        },
        "train_seconds": round(progress.train_seconds, 3),
        "steps_per_second": round(progress.step / progress.train_seconds, 3) if progress.train_seconds else None,
    }


def _protocol(config: Config, dataset: Dataset) -> dict[str, Any]:
    """By which rules the numbers came about, for metrics.json."""
    said: dict[str, Any] = {
        "name": config.protocol,
        "filter": "train+valid+test",  # as published: a slice held out of train counts as train here
        "ties": "mean",
        "validation": config.validation,
    }
    sampled = {s: len(dataset.split(s)) for s in ("valid", "test") if 0 < config.eval_queries < len(dataset.split(s))}
    if sampled:
        said["sample"] = {"triples": config.eval_queries, "seed": SAMPLE_SEED, "of": sampled}
    if config.validation == "held-out":
        said["held_out"] = {
            "triples": len(dataset.valid),
            "seed": config.held_out_seed,
            "sha256": slice_sha256(dataset),
        }
    return said


def finished(run: RunFolder) -> dict[str, Any] | None:
    """The metrics of a run that has ended, or None while it has not."""
    return read_json(run.metrics_file, "delete it and resume") if run.metrics_file.is_file() else None


def _readable_from_anywhere(config: Config, dataset: Dataset) -> Config:
    """The configuration with folders that were found from the current one written in full."""
    found = {}
    if Path(config.dataset).is_dir() or not dataset.folder.is_absolute():
        found["dataset"] = str(dataset.folder.resolve())
    if config.features:
        found["features"] = str(Path(config.features).resolve())
    return config.model_copy(update=found)


def open_features(dataset: Dataset, config: Config, device: torch.device) -> FeatureStore | None:
    """The features that the configuration points to, or those of the dataset, or None when it has none."""
    folder = Path(config.features) if config.features else dataset.folder
    if not config.features and not FeatureStore.lies_in(folder):
        return None
    return FeatureStore.open(dataset, folder).resident(device, config.feature_memory_mb)


def _validate(
    model: Any, dataset: Dataset, known: AnswerIndex, config: Config, together: Processes
) -> dict[str, float]:
    """Metrics of valid, both directions, on all of it or on the first --valid-queries triples of a seeded shuffle."""
    triples = sampled_triples(dataset.valid, config.valid_queries, derived_seed(config.seed, 2))
    return ranking_metrics(rank_triples(model, triples, known, config.eval_memory_mb, together=together))


def _gradient_norms(objective: Objective) -> dict[str, float]:
    """2-norm of the gradient of the model's and of the sampler's parameters."""
    norms = {}
    for name, module in (("model", objective.model), ("sampler", objective.sampler)):
        gradients = gradient_values(module.parameters())
        if gradients:
            norms[f"gradient_norm/{name}"] = float(torch.nn.utils.get_total_norm(gradients))
    return norms
