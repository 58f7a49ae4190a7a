"""What a finished run looks like where people keep results. Making it needs no network; `clients` send it."""
