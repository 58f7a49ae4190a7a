"""Graders: what gives marks to answers that no function of a document and a text can score (`types.grade`)."""
