"""Tools that know nothing of evaluations: files, locks, YAML with its lines, statistics, threads, devices, versions."""
