"""Graders: what gives marks to answers that no function of a document and a text can score (`types.grade`).

`code` lets a sandbox run programs, `judge` lets a model read texts.
"""
