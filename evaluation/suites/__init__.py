"""Evaluation suites: one layout for all, built from public data or loaded from mteb."""
