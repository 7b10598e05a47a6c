"""Findings in a Q/DQ graph that make its TensorRT engine slow, wrong or impossible; no GPU is needed."""
