"""Judges: what a strategy may ask about an image."""
