"""Which parts of a network suffer from INT8, measured without changing the network."""
