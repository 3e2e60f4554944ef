"""What is fast, measured: the figures that the project promises, on private servers that are started for them.

`python -m bench` (`make bench`) runs them all and prints one table; README.md beside this says how each is defined.
"""
