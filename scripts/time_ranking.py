"""Time filtered ranking by several processes against one of them alone, in turn.

    torchrun --nproc-per-node 2 scripts/time_ranking.py --dataset MKG-W

Ranks must be equal; seconds are by the clock, in CPU time of the busiest process in brackets.
"""

import argparse
import statistics
import time

import numpy as np
import torch

from mmrns.benchmark.evaluation import OurRanking
from mmrns.benchmark.suites import SIZES, evaluation_config
from mmrns.evaluation import rank_triples
from mmrns.processes import ALONE, Processes, launched


def main() -> None:
    """Rank, alone and together, so many times, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default=SIZES["published"].dataset)
    parser.add_argument("--model", default="rotate")
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    together = launched("cpu")
    config = evaluation_config(SIZES["published"], arguments.dataset, arguments.model)
    dataset, model, triples = OurRanking(config).load()
    known = dataset.answers()

    def timed(processes: Processes) -> tuple[float, float, np.ndarray | None]:
        """Seconds until every process is done, most CPU seconds of any, and ranks where this process has them."""
        together.any(False)  # all begin at once
        started, cpu, ranks = time.perf_counter(), time.process_time(), None
        if processes.number > 1 or together.main:
            ranks = rank_triples(model, triples, known, config.eval_memory_mb, together=processes).rank
        cpu = time.process_time() - cpu
        busy = torch.zeros(together.number, dtype=torch.int64)
        busy[together.index] = int(cpu * 1e9)
        busiest = float(together.total(busy).max()) / 1e9
        return time.perf_counter() - started, busiest, ranks

    rounds = [(timed(ALONE), timed(together)) for _ in range(1 + arguments.repetitions)][1:]
    if not together.main:
        return
    equal = all(np.array_equal(one[2], several[2]) for one, several in rounds)
    medians = [[statistics.median(turn[side][kind] for turn in rounds) for kind in (0, 1)] for side in (0, 1)]
    ratios = [statistics.median(one[kind] / several[kind] for one, several in rounds) for kind in (0, 1)]
    print(
        f"{2 * len(triples)} queries of {config.model} on {arguments.dataset}, width {config.dim}; one thread a process"
    )
    print(f"1 process {medians[0][0]:.2f} s ({medians[0][1]:.2f} s)")
    print(f"{together.number} processes {medians[1][0]:.2f} s ({medians[1][1]:.2f} s)")
    print(f"ratio {ratios[0]:.2f} ({ratios[1]:.2f}); ranks {'equal' if equal else 'NOT EQUAL'}")


if __name__ == "__main__":
    main()
