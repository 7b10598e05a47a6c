"""Other toolkits' post-training quantization of the same FP32 graph; one file a toolkit, each with `quantize`."""
