from __future__ import annotations

from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Turn the tests of a class with a `broken` plug-in over: each has to fail."""
    if not getattr(pyfuncitem.cls, "broken", False):
        return (yield)
    try:
        yield
    except (Exception, pytest.fail.Exception):
        return True
    raise AssertionError("the contract does not notice what is broken")
