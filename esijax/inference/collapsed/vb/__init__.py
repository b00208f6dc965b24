"""Two unknown factors, sources = maps times waves, by variational Bayes."""
