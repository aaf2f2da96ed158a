"""Statistics of evaluations as pure functions of numbers: nothing here knows about runs, tables or files.

Every function names the source of its formula. A figure that is undefined is ``None``, never a 0 that reads as
certainty. Randomness comes from a seed that the caller stores with the result.
"""
