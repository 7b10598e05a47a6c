"""Tests of benchmarks/studies and of its scripts."""
