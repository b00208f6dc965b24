"""What an estimate knows, as ArviZ reads it."""
