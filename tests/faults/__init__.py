"""Every fault of input, files, machine and user code ends in one sentence, and leaves what was there."""
