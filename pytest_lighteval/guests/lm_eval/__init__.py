"""Tasks of lm-evaluation-harness (https://github.com/EleutherAI/lm-evaluation-harness), run unchanged.

`index` knows all names without importing the harness, `declared` what each task reports, `source` is asked by `--tasks`. When a task is
evaluated, `harness` imports the harness, and `task` makes documents, requests and scores with it.
"""
