"""Checks of a placed graph: invariants, parity with training, error layer by layer."""
