"""The statistics of a run against its baseline, document by document. Numbers in, numbers out: no task and no file.

`sign_flips` <- `mean_bounds` <- `paired` <- `power` <- `decision` <- `sequential`.
"""
