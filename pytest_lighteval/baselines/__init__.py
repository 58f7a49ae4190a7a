"""Baselines: the scores that later runs are compared with, document by document, in one small file.

`model`: what a baseline holds. `packing`, `file_format`: its text. `read`, `save`: its file. `repeats`: several runs merged.
`measured`: a baseline that the session measures itself. `align`: a result and its baseline, document by document. `calibration`: how much
runs of one model differ. `importers`: baselines and gates from other harnesses.
"""
