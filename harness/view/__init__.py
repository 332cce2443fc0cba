"""The explorer: a local page over runs, finished or being written, that changes nothing."""
