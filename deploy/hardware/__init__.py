"""CPU, memory and GPUs of this machine."""
