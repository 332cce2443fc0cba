from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.audit.bundle import unpack
from harness.cli.audit import audit
from harness.cli.bundle import bundle
from harness.errors import UsageError


def test_a_bundle_is_audited_like_its_run(honest: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.zip"
    packed = CliRunner().invoke(bundle, [str(honest), "--out", str(file), "--plugins"])
    assert packed.exception is None and "audit ok" in packed.output
    found = CliRunner().invoke(
        audit,
        [str(file), "--plugins", "--against", str(honest), "--device", "cpu"],
        standalone_mode=False,
    )
    assert found.return_value == 0 and "identical, every row" in found.output


def test_a_bundle_stays_in_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "bad.zip"
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("../outside", "x")
    with pytest.raises(UsageError, match="no file of a run"):
        unpack(file, tmp_path / "room")
    assert not (tmp_path / "outside").exists()
