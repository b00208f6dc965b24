"""Answers that are linear in the data."""
