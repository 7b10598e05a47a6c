"""The choice of float groups: the search, engines and their latency, recovery."""
