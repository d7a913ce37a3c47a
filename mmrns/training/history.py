"""The scalars of a run over its steps: TensorBoard events, and history.jsonl for whoever reads them by program."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from mmrns.errors import UserError
from mmrns.files import write_text


class History:
    """Keeps scalars twice: as TensorBoard events, and as lines such as {"step": 50, "train/loss": 0.71}."""

    def __init__(self, path: Path, events: Path, step: int) -> None:
        """Continue both after `step`: what a killed process wrote of later steps goes, since they run again."""
        self.path = path
        self._events = SummaryWriter(str(events), purge_step=step + 1)
        if path.exists():
            # A kill may have cut the last line short; it then belongs to a step that runs again.
            whole = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
            write_text(path, "".join(line for line in whole if _step(line) <= step))

    def __enter__(self) -> "History":
        return self

    def __exit__(self, *_: object) -> None:
        self._events.close()

    def add(self, prefix: str, step: int, values: Mapping[str, float | None]) -> None:
        """Keep prefix/name of each value; the line is in the file on return.

        Left out are None, a metric that is not defined, and what is not finite, for which JSON has no number: with
        --precision fp16 the gradients of a step that is skipped are not.
        """
        there = {f"{prefix}/{name}": float(value) for name, value in values.items() if value is not None}
        line = {name: value for name, value in there.items() if math.isfinite(value)}
        for name, value in line.items():
            self._events.add_scalar(name, value, step)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **line}) + "\n")


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _is_step(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def read_history(path: Path) -> list[dict[str, Any]]:
    """Every whole line of a history; [] where there is no file.

    Raises:
        UserError: a line that is not an object with a step, other than a last one without its end.
    """
    if not path.is_file():
        return []
    lines = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(keepends=True), start=1):
        if not line.endswith("\n"):
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}:{number}: not JSON ({error}); remove the line") from error
        if not isinstance(entry, dict) or not _is_step(entry.get("step")):
            raise UserError(f'{path}:{number}: needs an object with a number "step"; remove the line')
        lines.append(entry)
    return lines
