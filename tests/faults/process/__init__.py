"""The environment of a command: signals, locks, disks, streams and packages."""
