"""The answer cache: a backend that wraps another one, and the file of its answers."""
