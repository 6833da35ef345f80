"""Which images a network gets right, clean or changed: rows, passes, statistics and words that several questions share.

Outcomes are kept per image, so that every difference is a paired one.
"""
