"""The InF-IR corpus: rows, files, recipes that build it from labelled data, and checks."""
