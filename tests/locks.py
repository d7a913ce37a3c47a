"""A lock that another process holds."""

import contextlib
import subprocess
import sys

HOLDER = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); input()"


@contextlib.contextmanager
def held_elsewhere(lock):
    """Let another process hold a lock's file, whose folder there must be."""
    command = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        other.stdout.readline()
        try:
            yield
        finally:
            other.communicate("\n")
