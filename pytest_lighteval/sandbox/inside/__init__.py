"""What runs inside of a sandbox, on Python's standard library alone: no other module of the package is there.

`keeper` has the story: it takes jobs, `nursery` forks a process for each run, `confine` takes its rights away, and `candidate` is what such
a process does. `examiner` asks a candidate the questions of a test; `peer` and `codec` are how the two talk.
"""
