"""Measurement of built engines: latency in turns, throughput, accuracy, layers, and the machine meanwhile."""
