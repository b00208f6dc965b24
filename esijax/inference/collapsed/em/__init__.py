"""Fixed-point updates of variances: EM, MacKay, Champagne."""
