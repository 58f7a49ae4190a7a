"""Holding a run against a baseline: who is a gate (`plan`), what the documents say (`comparing`), what becomes of it (`verdicts`).

Brings the gate's statistics, the baselines and the metrics together, which know nothing of one another. Knows nothing of pytest.
"""
