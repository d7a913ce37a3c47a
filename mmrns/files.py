"""Writing files so that a reader never meets a half-written one, and reading small structured ones."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmrns.errors import UserError

_NO_ROOM = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS))
_PARTIAL = ".partial"


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, on failure it is removed.

    The data is on disk (fsync) before the rename, so a kill at any moment leaves either the old file or the new.
    Raises UserError when the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        # Some writers make files that only their owner may read; a run folder is as readable as its neighbours.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except Exception as error:
        # safetensors and torch wrap the operating system's error in classes of their own, so its text is looked at.
        if isinstance(error, OSError) or any(text in str(error) for text in _NO_ROOM):
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise UserError(f"{path}: cannot be written ({reason}); free some room or choose another folder") from error
        raise
    finally:
        with contextlib.suppress(OSError):  # there may be no such folder
            temporary.unlink()


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it takes that name, on failure it is removed.

    Raises UserError when `path` already holds something, the disk is full or the place cannot be written.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path}: already holds something; remove it or choose another folder")
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_PARTIAL}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{path}: cannot be written ({reason}); free some room or choose another folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def is_partial(path: Path) -> bool:
    """Whether `path` is what a killed process left of an atomic write."""
    return path.name.startswith(".") and path.name.endswith(_PARTIAL)


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
