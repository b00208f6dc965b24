"""Any penalty with a proximal map."""
