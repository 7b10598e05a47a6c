"""The command line: the table of verbs, the parser with its messages, shared options, shell completion."""
