"""Exact rewrites of the float graph that let more of it run as integer kernels; each keeps the scales it can."""
