"""Input from the user: the Python file, its batches, their precision and device."""
