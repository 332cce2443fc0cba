"""Reference data beside the repository, which is not part of it."""

from __future__ import annotations

import pytest

from tests.terminal import ROOT

SHARED = ROOT.parent / "shared"


def needs_shared(name: str) -> pytest.MarkDecorator:
    """Skip a test where a folder or file of the reference data is absent."""
    path = SHARED / name
    return pytest.mark.skipif(not path.exists(), reason=f"the reference data is not at {path}")
