from __future__ import annotations

import pytest

from harness.miniature.glyphs import FontMissingError, font_path


@pytest.fixture(scope="session")
def font() -> None:
    """Skips a test that renders where the emoji font is absent."""
    try:
        font_path()
    except FontMissingError as error:
        pytest.skip(f"{error.message}; {error.hint}")
