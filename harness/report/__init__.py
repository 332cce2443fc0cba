"""Figures, tables and a page from what `harness.analysis` computed. Nothing is computed here."""
