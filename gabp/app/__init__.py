"""The command line, matrix files, pictures and the demonstration."""
