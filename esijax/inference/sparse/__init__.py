"""Minimisers of penalties, with a proof."""
