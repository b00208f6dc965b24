"""Norms of linear maps: a primal-dual iteration."""
