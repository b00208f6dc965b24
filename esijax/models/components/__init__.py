"""Covariance components: what may be active."""
