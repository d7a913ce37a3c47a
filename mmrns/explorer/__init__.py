"""The interactive page of a run: questions by label, answers, explanations, a map, and two runs side by side."""
