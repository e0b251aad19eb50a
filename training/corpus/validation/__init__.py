"""Checks of a corpus: what is wrong with its rows, what it is made of, and what it shares with evaluation suites."""
