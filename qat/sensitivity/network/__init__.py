"""The network as groups that switch between INT8 and float; its weights; saving and loading it."""
