"""Trials, their evidence of every image, and the ranking made from it."""
