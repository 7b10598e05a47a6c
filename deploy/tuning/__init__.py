"""Search for the placement that is fastest on an engine, by measuring it."""
