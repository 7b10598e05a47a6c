"""Tests of qat/pipeline."""
