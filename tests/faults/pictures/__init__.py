"""Picture and video files that are bad, and results that cannot be written."""
