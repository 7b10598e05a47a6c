"""Tests of benchmarks/measure."""
