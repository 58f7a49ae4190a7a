"""The statistics of a run against its baseline, document by document. Numbers in, numbers out: it knows neither tasks nor files.

`sign_flips` <- `mean_bounds` <- `paired` <- `power` <- `decision` <- `sequential`.
"""
