"""Passes from a float graph and a plan to the Q/DQ graph of a target."""
