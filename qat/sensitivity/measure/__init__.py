"""Trials, what they show of every image, and the ranking made of it."""
