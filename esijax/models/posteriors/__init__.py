"""The distributions that methods hand over."""
