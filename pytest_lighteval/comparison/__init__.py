"""The statistics of a run against its baseline, document by document. Numbers in, numbers out: no task and no file.

`sums` <- `exchange` <- `paired` <- `compare` (with `mean_bounds`) <- `corpus`, `power`, `decision` <- `sequential`.
"""
