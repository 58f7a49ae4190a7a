"""Tasks of other harnesses, asked and judged like those of suite files. Reading them runs the user's Python."""
