"""Commands that measure the project itself, each run as `python -m benchmarks.NAME` from the repository's root."""
