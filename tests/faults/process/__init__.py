"""Signals, locks, disks, streams and packages: what surrounds a command."""
