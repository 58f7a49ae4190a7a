"""What `python -m pytest_lighteval` does without pytest and without a model.

`main` has the list of commands. Each command is a module with `add_arguments(parser)` and `run(options)`, which returns the exit status.
"""
