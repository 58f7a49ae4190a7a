"""A backend around a backend: what was answered before is not computed again."""
