"""The gate: floors that a score must not fall under, and the statistics of comparing a run with a baseline, document by document.

`flips` <- `bounds` <- `paired` <- `power` <- `verdict` <- `sequential`; `floors` stands alone.
"""
