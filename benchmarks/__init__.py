"""Measurements of built engines against FP32: scripts, and the packages behind them."""
