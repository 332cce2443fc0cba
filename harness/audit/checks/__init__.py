"""The checks of an audit: one claim a file, which its docstring states."""
