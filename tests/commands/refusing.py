"""Commands that must fail, and what folders hold before and after."""

from mmrns.cli import main


def contents(folder):
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refuse(argv, capfd):
    """Run a command that must fail; returns its one line on standard error."""
    capfd.readouterr()
    try:
        status = main(argv)
    except SystemExit as stop:
        status = stop.code
    written = capfd.readouterr()
    assert status == 2
    assert written.out == ""
    assert written.err.endswith("\n")
    lines = written.err.splitlines()
    assert len(lines) == 1, lines
    assert "Traceback" not in lines[0]
    return lines[0]
