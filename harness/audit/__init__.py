"""Audits: a run checked as a reviewer would who trusts nobody. One file a check."""
