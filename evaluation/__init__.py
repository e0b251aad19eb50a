"""Suites, measures, statistics, reports, the promotion gate and the registry."""
