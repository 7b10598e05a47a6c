"""What the user gives: the Python file, its batches, their precision and device."""
