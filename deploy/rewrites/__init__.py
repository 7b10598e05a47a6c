"""Exact rewrites of the float graph that let more of it run in integer kernels; each keeps all scales that still
hold."""
