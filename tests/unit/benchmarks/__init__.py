"""Tests of benchmarks/: the scripts, and the packages that do their work."""
