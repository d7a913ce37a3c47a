"""Writing files so that a reader never meets a half-written one, and reading small structured ones."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmrns.errors import UserError


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, on failure it is removed.

    The data is on disk (fsync) before the rename, so a kill at any moment leaves either the old file or the new.
    Raises UserError when the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        # Some writers make files that only their owner may read; a run folder is as readable as its neighbours.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except Exception as error:
        # safetensors wraps the operating system's error in its own class, so its text is looked at too.
        reason = error.strerror if isinstance(error, OSError) else str(error)
        if isinstance(error, OSError) or "No space left" in str(error):
            raise UserError(f"{path}: cannot be written ({reason}); free some room or choose another folder") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically. NaN is refused: it is not JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, mend: str) -> Any:
    """Read a JSON file; UserError names the file and `mend` when it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {mend}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); {mend}") from error


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read one JSON object a line; UserError names file and line of the first that is not one."""
    records: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            record = json.loads(line.decode("utf-8"))
        except (UnicodeDecodeError, ValueError) as error:
            raise UserError(
                f"{path}:{number}: not a JSON object in UTF-8 ({error}); mend or remove the line"
            ) from error
        if not isinstance(record, dict) or not isinstance(record.get("id"), str):
            raise UserError(f'{path}:{number}: needs an object with a text "id"; mend or remove the line')
        records.append(record)
    return records


def sha256(lines: list[str]) -> str:
    """SHA-256 of the lines joined by newlines, as features.json and vocabulary.json record it."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode("utf-8") + b"\n")
    return digest.hexdigest()
