"""Learned inverses: their layers are updates of known solvers, their lead field an input."""
