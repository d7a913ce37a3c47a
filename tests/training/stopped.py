"""Runs in processes of their own: killed, interrupted or starved of disk at a chosen moment, or several as one."""

import io
import multiprocessing
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path

import torch

from mmrns.cli import main
from mmrns.errors import UserError
from mmrns.inference import facts_file, questions  # noqa: F401 (to be preloaded)
from mmrns.training import loop, run_folder, state
from mmrns.training.batches import Batches

# Children are forked from one process that has imported everything, so that each starts at once.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.training.stopped"])


def start(argv, errors, *plan):
    """Start `mmrns argv` with a plan from this file; its standard error goes to the file `errors`."""
    reader, writer = _CONTEXT.Pipe(duplex=False)
    child = _CONTEXT.Process(target=_child, args=(argv, str(errors), writer, plan))
    child.start()
    writer.close()
    return child, reader


def run(argv, errors, *plan):
    """Run `mmrns argv` to its end; returns its exit status, or minus the signal that killed it."""
    child, _ = start(argv, errors, *plan)
    return _status(child)


def stop_at_step(argv, errors, step, number):
    """Send signal `number` to the run while it is in a step, `step` or one soon after; returns its exit status."""
    child, reader = start(argv, errors, "report")
    while reader.recv() < step:
        pass
    os.kill(child.pid, number)
    return _status(child)


def start_together(argv, folder, number=2, *, report=False):
    """Start `mmrns argv` in processes that gloo joins, as torchrun would; standard errors go to folder/err<index>."""
    port = _free_port()
    return [start(argv, folder / f"err{i}", "one of several", i, number, port, report) for i in range(number)]


def together(argv, folder, number=2):
    """Run `mmrns argv` to its end in several processes; returns their exit statuses."""
    return statuses(start_together(argv, folder, number))


def statuses(children):
    """Exit statuses of what `start_together` started."""
    return [_status(child) for child, _ in children]


def call_together(function, number=2):
    """Call a function in several processes, as torchrun would start them; returns their exit statuses."""
    port = _free_port()
    children = [_CONTEXT.Process(target=_called_as, args=(function, index, number, port)) for index in range(number)]
    for child in children:
        child.start()
    return [_status(child) for child in children]


def call(function, argument, errors):
    """Call a function in a process of its own; returns 2 when it raised, with the message in `errors`."""
    child = _CONTEXT.Process(target=_called, args=(function, argument, str(errors)))
    child.start()
    return _status(child)


def _status(child):
    child.join(120)
    if child.is_alive():
        child.kill()
    return child.exitcode


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _called_as(function, index, number, port):
    _one_of_several(None, index, number, port, report=False)
    function()


def _called(function, argument, errors):
    try:
        function(argument)
    except UserError as error:
        Path(errors).write_text(str(error))
        sys.exit(2)


def _child(argv, errors, writer, plan):
    with Path(errors).open("wb") as file:
        os.dup2(file.fileno(), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if plan:
        _PLANS[plan[0]](writer, *plan[1:])
    sys.exit(main(argv))


def _report(writer):
    """Tell the parent about every step, and take a while for it."""
    original = Batches.rows

    def rows(self, step, *rest):
        writer.send(step)
        time.sleep(0.02)
        return original(self, step, *rest)

    Batches.rows = rows


def _one_of_several(writer, index, number, port, report):
    """What torchrun tells a process by its environment."""
    place = {"RANK": index, "LOCAL_RANK": index, "WORLD_SIZE": number, "LOCAL_WORLD_SIZE": number, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()}, MASTER_ADDR="127.0.0.1", OMP_NUM_THREADS="1")
    if report:
        _report(writer)


def _die_after_replacing(writer, number):
    """kill -9 right after the number-th file has come to its name."""
    original, done = Path.replace, []

    def replace(self, target):
        original(self, target)
        done.append(target)
        if len(done) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    Path.replace = replace


def _small_blocks(writer, number):
    """Few questions a block of `predict --all`, and kill -9 as above."""
    questions._MOST_AT_ONCE = 25
    _die_after_replacing(writer, number)


def _die_in_the_middle_of(writer, what, number):
    """Write the first half of the number-th state.pt or model.safetensors, then kill -9."""
    calls = []

    def half(content, path):
        calls.append(path)
        if len(calls) == number:
            with Path(path).open("wb") as file:
                file.write(content[: len(content) // 2])
                os.fsync(file.fileno())
            os.kill(os.getpid(), signal.SIGKILL)

    if what == "state":
        save = torch.save

        def save_state(value, file):
            buffer = io.BytesIO()
            save(value, buffer)
            half(buffer.getvalue(), file.name)
            save(value, file)

        state.torch.save = save_state
    else:
        save_file = run_folder.save_file

        def save_model(tensors, path, **rest):
            save_file(tensors, path, **rest)
            half(Path(path).read_bytes(), path)

        run_folder.save_file = save_model


def _no_room(writer, what, size):
    """Let no file grow beyond `size` bytes, from the moment that `what` begins."""
    owner, name = {
        "claim": (run_folder.RunFolder, "claim"),
        "validation": (loop, "_validate"),
        "last evaluation": (loop, "finish"),
        "metrics": (loop, "write_json"),
    }[what]
    original = getattr(owner, name)

    def limited(*args, **rest):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        return original(*args, **rest)

    setattr(owner, name, limited)


_PLANS = {
    "report": _report,
    "one of several": _one_of_several,
    "die after replacing": _die_after_replacing,
    "small blocks, die after replacing": _small_blocks,
    "die in the middle of": _die_in_the_middle_of,
    "no room": _no_room,
}
