"""Spoilt images."""

CASES = []
