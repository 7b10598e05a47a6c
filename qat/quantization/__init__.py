"""Fake quantizers and their insertion into a network."""
