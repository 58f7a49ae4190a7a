"""Prompts of many languages: the words of each, and the templates that make a question of them in one of three formulations.

`words`: what a language calls a question, an answer, and its marks. `texts`: capitals and marks at the ends of texts. `templates`: a
question's parts to the text that is asked and the choices that are scored. `inputs`: which parts a template takes, by the names that suite
files use.
"""
