"""Tools without a domain word in them: files, statistics, threads, devices, versions, YAML with its lines."""
