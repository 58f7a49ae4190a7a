"""Rows of a data set: from the hub, from a data home, from files beside the suite; kept in a form that loads at once."""
