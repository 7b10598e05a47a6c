"""Files: written atomically, read with clear errors, found by their place in a run."""
