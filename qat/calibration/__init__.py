"""Ranges of quantizers before and during training."""
