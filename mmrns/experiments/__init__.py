"""Experiments made of many runs: grids of cells, their published results, paired comparisons, tuning on valid."""
