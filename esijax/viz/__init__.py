"""Pictures: maps on the cortex."""
