"""Series: state-space form and filter, autoregressions, variograms."""
