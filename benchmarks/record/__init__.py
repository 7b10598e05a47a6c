"""Result files: the models of rows and files, the table that prints rows, and the gate that checks limits."""
