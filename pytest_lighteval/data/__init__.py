"""Rows of a data set: found beside the suite, in a data home or on the hub; read; and cached so that they load fast."""
