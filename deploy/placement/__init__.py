"""Placement of Q/DQ: rules, rule sets, and the user's own choices."""
