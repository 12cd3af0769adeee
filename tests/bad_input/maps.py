"""Spoilt maps."""

CASES = []
