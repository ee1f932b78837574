"""Faults made on purpose: what salcheck says, what is lost, and what a second call makes of it.

    python -m tests.faults [full-disk killed ...]

`injected` makes the n-th write, fsync, rename, open, statement or commit fail or the process die, as SQLite's testers
do; `child` runs a command under such a fault in a fork; `work` holds the pieces of work; `kinds` tries every kind.
"""
