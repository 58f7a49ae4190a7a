"""What a project promises of its scores, and whether a run kept it. Knows nothing of pytest.

`gate_settings`, `gate_file`, `floors`, `waivers`: what is promised. `plan`: which numbers are gates, with which share of alpha.
`compare`: one number against its baseline. `early_stopping`: a task that ends once its gates are decided. `join`: thresholds, comparison
and waivers in one verdict. `judge`: the verdicts of a task. `session_verdicts`: supersets and the pooled test. `session_reports`: all that
is said of a whole session. `missing_tasks`: tasks of the baseline that nobody ran. `red_gates`: what earlier sessions found red.
`pinned`: gates against a baseline that no refresh moves; `refresh`: what a refresh changes. `expected_power`: what a gate can detect.
"""
