"""What README.md shows is what the repository holds."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_scoring_function_shown_whole_is_the_file():
    assert (ROOT / "mmrns" / "scoring" / "distmult.py").read_text(encoding="utf-8").strip() in README


def test_the_demo_table_names_its_command_and_commit():
    table = README[README.index("<!-- begin demo -->") : README.index("<!-- end demo -->")]
    for needed in ("make demo", "commit", "seed", "valid", "| uniform", "| mmrns"):
        assert needed in table
