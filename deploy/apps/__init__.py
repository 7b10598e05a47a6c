"""Commands that use graphs and engines: inspect, run, serve, diagnose."""
