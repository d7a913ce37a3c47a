"""The exceptions that mean "the user can mend this", and what mends a refusal of the operating system."""

import errno
import os
from pathlib import Path

_NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_SUCH_PLACE = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)
_MENDS = dict.fromkeys(_NO_ROOM, "free some room or choose another folder")
_MENDS |= dict.fromkeys(_NOT_ALLOWED, "choose another folder or change its permissions")
_MENDS |= dict.fromkeys(_NO_SUCH_PLACE, "give another path")


class UserError(Exception):
    """Bad input. The message is one line that names the file, the line or the flag, and the mend.

    The command line prints it without a traceback and exits with status 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def shortened(name: str, most: int) -> str:
    """A name for a message, at most so many characters of it: some paths are whole pictures, as data: URIs."""
    return name if len(name) <= most else f"{name[:most]}…"


def mend_of(error: Exception) -> str | None:
    """What the user can do about a file or folder that the operating system refused; None where nothing is known."""
    number = _number(error)
    return None if number is None else _MENDS.get(number)


def is_refusal(error: Exception) -> bool:
    """Whether the operating system refused to write."""
    return isinstance(error, OSError) or _number(error) is not None


def unwritable(path: Path, error: Exception, mend: str = "") -> UserError:
    """The error of a file or folder that could not be written, with `mend` or what `mend_of` says."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return UserError(f"{path}: cannot be written ({reason}); {mend or mend_of(error) or _MENDS[errno.ENOSPC]}")


def _number(error: Exception) -> int | None:
    # safetensors and torch wrap the operating system's error in classes of their own, so its text is looked at.
    if isinstance(error, OSError):
        return error.errno
    return next((number for number in (*_NO_ROOM, errno.EROFS) if os.strerror(number) in str(error)), None)


class DivergedError(UserError):
    """Training left the finite numbers: these options do not train, others may."""


class StoppedError(UserError):
    """A run was asked to stop, and can go on later."""
