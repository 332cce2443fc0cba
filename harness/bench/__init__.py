"""Measurements of this project's own speed, each against the plain way of doing the same."""
