"""Deciding where Q/DQ goes: rules, rule sets, and the user's own choices."""
