"""Measurements of built engines, each against FP32: the scripts, and the packages that do their work."""
