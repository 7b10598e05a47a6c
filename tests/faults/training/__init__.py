"""Data, weights and user code that training must refuse."""
