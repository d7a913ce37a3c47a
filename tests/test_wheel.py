"""A wheel, as `pip install` makes one, carries everything that the program reads."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ASKS = """
from mmrns.config_io import load_config
from mmrns.experiments.grid import find_grid, load_grid
import mmrns
assert mmrns.__file__.startswith({unpacked!r}), mmrns.__file__
assert load_config({{}}, None, "score-64").pool_size == 500
assert load_grid(find_grid("main")).cells
"""


@pytest.mark.slow
def test_a_wheel_has_the_files_that_its_code_reads(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(wheel) as files:
        files.extractall(unpacked)
    beside_code = {path.relative_to(ROOT) for path in ROOT.glob("mmrns/**/*.*") if "__pycache__" not in path.parts}
    assert beside_code <= {path.relative_to(unpacked) for path in unpacked.rglob("*.*")}
    code = ASKS.format(unpacked=str(unpacked))
    subprocess.run([sys.executable, "-P", "-c", code], check=True, cwd=tmp_path, env={"PYTHONPATH": str(unpacked)})
