"""Timings that compare: the sides run in turn, in one process, so that the machine's moods hit them alike."""
