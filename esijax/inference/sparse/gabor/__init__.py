"""Time-frequency penalties: blocks of Gabor coefficients."""
