"""What MNE measured becomes a Problem: channels, spaces, orientations, noise."""
