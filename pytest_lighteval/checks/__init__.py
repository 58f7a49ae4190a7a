"""The linter for benchmarks: what can be said about a task without a model.

`check` is the story of one task; `oracle` answers with the gold; `golds`, `documents`, `shortcuts` and `prompts` each look for their kind
of fault; `findings` counts; `chance` tells a pattern from an accident; `accepted` knows what a project lives with.
docs/check-tasks.md has all kinds of findings.
"""
