"""The project's own benchmark suite."""
