"""Data, weights and user code that cannot be trained with."""
