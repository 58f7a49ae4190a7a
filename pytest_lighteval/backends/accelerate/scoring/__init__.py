"""Log-likelihoods with transformers: over a tree of shared prefixes, or by padded rows."""
