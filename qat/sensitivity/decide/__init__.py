"""Which units stay float: the search, engines and their latency, recovery."""
