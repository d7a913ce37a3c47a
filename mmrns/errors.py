"""The exceptions that mean "the user can mend this"."""


class UserError(Exception):
    """Bad input. The message is one line that names the file, the line or the flag, and the mend.

    The command line prints it without a traceback and exits with status 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def shortened(name: str, most: int) -> str:
    """A name for a message, at most so many characters of it: some paths are whole pictures, as data: URIs."""
    return name if len(name) <= most else f"{name[:most]}…"


class DivergedError(UserError):
    """Training left the finite numbers: these options do not train, others may."""


class StoppedError(UserError):
    """A run was asked to stop, and can go on later."""
