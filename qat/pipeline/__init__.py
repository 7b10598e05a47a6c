"""The QAT stage as steps: FP32 weights, quantizers, training, the choice between PTQ and QAT, export."""
