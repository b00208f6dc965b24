"""Methods on the collapsed model: the sources integrated out, the hyper-parameters found."""
