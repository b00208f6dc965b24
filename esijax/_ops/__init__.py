"""Atoms: arrays in, arrays out, no classes of ours."""
