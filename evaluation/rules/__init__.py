"""Rules of published benchmarks: from what models found in a picture to the official scorers' numbers.

Nothing here loads a model or a picture file. Each rule is written from the benchmark's paper and from what
its official scorer does, oddities included: a repaired rule gives numbers that compare with nobody's.
"""
