"""Markdown tables, of whatever is in their cells."""

import re

from mmrns.report.tables import markdown_table


def test_bars_within_cells_do_not_end_them():
    lines = markdown_table(["of a|b", "why"], [["0", "killed | again"], ["1", ""]]).splitlines()
    assert lines[0].startswith(r"| of a\|b | why ") and r"| killed \| again |" in lines[2]
    assert len({len(line) for line in lines}) == 1
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {3}
