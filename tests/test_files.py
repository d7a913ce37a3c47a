"""Atomic writing and reading of small structured files."""

import errno
import fcntl
import hashlib
import multiprocessing
import os
import stat
import time
from pathlib import Path

import pytest

from mmrns.errors import UserError
from mmrns.files import (
    atomic_folder,
    atomic_path,
    claimed,
    is_partial,
    lock_file,
    read_json,
    read_json_lines,
    sha256,
    write_json,
    write_text,
)


def names_in(folder):
    return [path.name for path in folder.iterdir()]


def test_a_file_appears_whole_with_its_folders(tmp_path):
    path = tmp_path / "a/b/c.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert is_partial(temporary)
    assert path.read_text() == "half"
    assert names_in(path.parent) == ["c.txt"]


def test_what_fails_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "kept.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text("new")
        1 / 0  # noqa: B018
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["kept.txt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT])
@pytest.mark.parametrize("kind", ["system", "wrapped"])
def test_no_room_is_one_line_that_names_the_file(tmp_path, number, kind):
    reason = os.strerror(number)
    error = OSError(number, reason) if kind == "system" else RuntimeError(f"I/O error: {reason} (os error {number})")
    said = pytest.raises(UserError, match=rf"full\.txt: cannot be written \(.*{reason}.*\); free some room")
    with said, atomic_path(tmp_path / "full.txt") as temporary:
        temporary.write_text("half")
        raise error
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("atomic", [atomic_path, atomic_folder])
def test_a_refusal_that_has_to_do_with_another_file_is_passed_on(tmp_path, atomic):
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic(tmp_path / "new"):
        (tmp_path / "elsewhere").read_text()
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("place", ["", "new", "temporary"])
@pytest.mark.parametrize("atomic", [atomic_path, atomic_folder])
def test_a_refusal_that_names_the_place_is_one_line(tmp_path, atomic, place):
    refused = pytest.raises(UserError, match=r"/new: cannot be written \(No space left on device\); free some room")
    with refused, atomic(tmp_path / "new") as temporary:
        named = temporary if place == "temporary" else tmp_path / place
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(named))


def test_the_current_folder_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (Path(), tmp_path):
        with pytest.raises(UserError, match=r": is the current folder, which cannot be replaced"), atomic_folder(path):
            pass
    assert names_in(tmp_path) == []


def test_two_writers_in_one_process_do_not_meet(tmp_path):
    with atomic_path(tmp_path / "x") as first, atomic_path(tmp_path / "x") as second:
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "x").read_text() == "first"


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file/new.txt", tmp_path / "file/further/new.txt"):
        with pytest.raises(UserError, match=r"new\.txt: cannot be written"):
            write_text(path, "x")


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write_text(tmp_path / "file", "x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_json_round_trip_and_no_nan(tmp_path):
    write_json(tmp_path / "x.json", {"é": [1, None]})
    assert read_json(tmp_path / "x.json", "mend it") == {"é": [1, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert read_json(tmp_path / "x.json", "mend it") == {"é": [1, None]}


@pytest.mark.parametrize(
    ("content", "said"), [(None, "no such file"), (b"{", "not readable"), (b"\xff", "not readable")]
)
def test_unreadable_json_names_the_file_and_the_mend(tmp_path, content, said):
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UserError, match=rf"x\.json: {said}.*; do this$"):
        read_json(tmp_path / "x.json", "do this")


@pytest.mark.parametrize("line", [b"{", b"\xff", b"[]", b"3", b"{}", b'{"id": 3}', b""])
def test_a_bad_line_is_named_by_number(tmp_path, line):
    (tmp_path / "x.jsonl").write_bytes(b'{"id": "a"}\n' + line + b'\n{"id": "b"}\n')
    with pytest.raises(UserError, match=r"x\.jsonl:2: .*; mend or remove the line$"):
        read_json_lines(tmp_path / "x.jsonl")


def test_the_fingerprint_of_lines_is_that_of_the_text(tmp_path):
    assert sha256(["a", "é"]) == hashlib.sha256("a\né\n".encode()).hexdigest()
    assert sha256(["a", "b"]) != sha256(["ab"]) != sha256(["b", "a"])


def test_what_is_claimed_is_free_again_afterwards(tmp_path):
    with claimed(tmp_path / "new/x") as first, claimed(tmp_path / "new/x") as second:
        assert first and not second
    with claimed(tmp_path / "new/x") as free:
        assert free


def stay(running):
    running.set()
    time.sleep(600)


def test_a_fork_keeps_no_lock(tmp_path):
    context = multiprocessing.get_context("fork")
    running = context.Event()
    child = context.Process(target=stay, args=(running,))
    with claimed(tmp_path / "x") as free:
        assert free
        child.start()
        assert running.wait(60)
    try:
        with claimed(tmp_path / "x") as free:
            assert free and child.is_alive()
    finally:
        child.kill()
        child.join()


def test_a_lock_file_that_its_holder_removed_meanwhile_is_no_claim(tmp_path, monkeypatch):
    flock, path = fcntl.flock, tmp_path / "x"

    def removed_first(lock, how):
        monkeypatch.undo()
        lock_file(path).unlink()
        flock(lock, how)

    monkeypatch.setattr(fcntl, "flock", removed_first)
    with claimed(path) as first, claimed(path) as second:
        assert first and not second


def test_where_there_are_no_locks_nobody_is_kept_away(tmp_path, monkeypatch):
    def unsupported(lock, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with claimed(tmp_path / "x") as free:
        assert free


def test_a_place_that_may_not_be_written_is_no_matter_of_room(tmp_path):
    refused = pytest.raises(UserError, match=r"y: cannot be written \(Permission denied\); .*permissions")
    with refused, atomic_path(tmp_path / "y"):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def test_what_can_have_no_lock_beside_it_is_named(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file/x", tmp_path / "file/further/x"):
        refused = pytest.raises(UserError, match=r"/x: cannot be written \(.*\); give another path")
        with refused, claimed(path):
            pass


def test_an_error_s_message_is_one_line():
    assert str(UserError("a\n  b\tc ")) == "a b c"
