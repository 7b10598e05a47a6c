"""Faults of input, files, machine and user code: each ends in one sentence and leaves existing files unchanged."""
