"""The climb from PTQ to QAT, cheap steps first, to the first engine that keeps the accuracy."""
