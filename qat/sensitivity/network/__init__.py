"""The network as groups that can be switched between INT8 and float; its weights; saving it and bringing it back."""
