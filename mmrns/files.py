"""Writing files so that a reader never meets a half-written one, and reading small structured ones."""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mmrns.errors import UserError, is_refusal, unwritable

_PARTIAL = ".partial"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
_held: set[IO[str]] = set()


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, on failure it is removed.

    The data is on disk (fsync) before the rename, so a kill at any moment leaves either the old file or the new.
    Raises UserError when the disk is full or the folder cannot be written. What the system refused of other files
    inside the `with` is raised as it is.
    """
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        # Some writers make files that only their owner may read; a run folder is as readable as its neighbours.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except Exception as error:
        if is_refusal(error) and _is_about(error, temporary, path):
            raise unwritable(path, error) from error
        raise
    finally:
        with contextlib.suppress(OSError):  # there may be no such folder
            temporary.unlink()


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it takes that name, on failure it is removed.

    Raises UserError when `path` already holds something or is the current folder, the disk is full or the place cannot
    be written. What the system refused of other files inside the `with` is raised as it is.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path}: already holds something; remove it or choose another folder")
    if path.is_dir() and path.samefile(Path.cwd()):
        raise UserError(f"{path}: is the current folder, which cannot be replaced; choose a new one, or one inside it")
    temporary = _temporary(path)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if _is_about(error, temporary, path):
            raise unwritable(path, error) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary(path: Path) -> Path:
    """A name beside `path` that nobody else has: threads share a process's number, and containers repeat it."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{_PARTIAL}")


def _is_about(error: Exception, temporary: Path, path: Path) -> bool:
    """Whether an error names no file, or the temporary one, what lies in it, `path` or a folder above them."""
    name = getattr(error, "filename", None)
    if not isinstance(name, str | bytes | os.PathLike):
        return True
    named, temporary = Path(os.fsdecode(name)).absolute(), temporary.absolute()
    return named == path.absolute() or temporary.is_relative_to(named) or named.is_relative_to(temporary)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def is_partial(path: Path) -> bool:
    """Whether `path` is what a killed process left of an atomic write."""
    return path.name.startswith(".") and path.name.endswith(_PARTIAL)


@contextlib.contextmanager
def claimed(path: Path, wait: bool = False) -> Iterator[bool]:
    """Whether this process may work on a file or folder; the lock goes with the process, however that ends.

    Programs that it starts with its open files keep the lock too, forks do not. Where the operating or file system
    has no locks, nobody is kept away. Who holds a lock may remove its file.

    Args:
        path: what is worked on; the lock is a file beside it.
        wait: until it is free, instead of yielding False when it is not.

    Raises:
        UserError: there can be no file beside `path`.
    """
    while True:
        with _open_lock(path) as lock:
            if not _taken(lock, wait):
                yield False
                return
            if not _is_file_of(lock, lock_file(path)):
                continue  # who held it removed the file meanwhile: the lock of others is a new one
            os.set_inheritable(lock.fileno(), True)  # a run that outlives this process keeps its lock
            _held.add(lock)
            try:
                yield True
            finally:
                _held.discard(lock)
            return


def lock_file(path: Path) -> Path:
    """The file that holds the lock of a file or folder."""
    return path.with_name(f".{path.name}.lock")


def _open_lock(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return lock_file(path).open("w")
    except OSError as error:
        raise unwritable(path, error) from error


def _taken(lock: IO[str], wait: bool) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _is_file_of(opened: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(opened.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _let_go() -> None:
    """In a fork: a worker that for some seconds outlives the process it works for keeps nobody from going on."""
    for lock in _held:
        lock.close()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def file_inside(folder: Path, file: str) -> Path:
    """The file that is called `file` in a folder; symbolic links are followed first.

    Raises ValueError, whose message is the reason: no name that a file can have, outside of the folder, or no file.
    """
    root = folder.resolve()
    try:
        path = (root / file).resolve()
        inside, there = path.is_relative_to(root), path.is_file()
    except RuntimeError:  # symbolic links in a circle, before Python 3.13
        inside, there = True, False
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"no usable file name ({reason})") from error
    if not inside:
        raise ValueError("lies outside of the dataset folder")
    if not there:
        raise ValueError("no such file")
    return path


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


def read_object(path: Path, mend: str) -> dict[str, Any]:
    """Read a JSON file that holds an object; UserError as `read_json`, and when it holds something else."""
    found = read_json(path, mend)
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds no object; {mend}")
    return found


def read_kept(path: Path, form: str, made_from: dict[str, Any]) -> dict[str, Any] | None:
    """What a file keeps from an earlier time, None if it is damaged, of another format or made from something else."""
    try:
        kept = read_object(path, "delete it")
    except UserError:
        return None
    return kept if kept.get("format") == form and kept.get("made_from") == made_from else None


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
