"""Tests of deploy/placement."""
