"""Running code that a model wrote: kinds of sandboxes, whether they hold on this host, and a pool of them that takes jobs.

`kinds` says how each kind is started, `worker` talks with one that runs, `pool` has several, `self_test` tries to break out,
`job` is what is asked. `inside` is the code that runs in there. It knows nothing of benchmarks.
"""
