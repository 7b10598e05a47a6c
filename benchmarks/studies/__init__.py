"""Studies besides the benchmark: cost curves, the table of QAT against PTQ, and the cost of a training step."""
