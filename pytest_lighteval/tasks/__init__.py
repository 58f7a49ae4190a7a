"""Suite files, their tasks, and the specs that select tasks. Every pytest run imports this file, so it imports nothing."""

SUITE_SUFFIXES = (".yaml", ".yml")
"""Endings of suite files."""
