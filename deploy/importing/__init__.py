"""Q/DQ graphs of other toolkits as a float graph and a quantization plan."""
