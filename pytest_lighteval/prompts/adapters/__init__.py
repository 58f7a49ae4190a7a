"""Functions that suite files name as `adapter`: row -> row, where a prompt needs more than templates can say."""
