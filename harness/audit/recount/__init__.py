"""A report's numbers computed anew from the log: a short path that shares nothing with the first.

Plain Python over one search at a time, where `harness.analysis` works on arrays of all of them.
Only the rows of `harness.audit.subject` and the audit's own replays are used.
"""
