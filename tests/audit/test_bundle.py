from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.audit.bundle import unpack
from harness.cli.audit import audit
from harness.cli.bundle import bundle
from harness.errors import HarnessError, UsageError


def test_a_bundle_is_audited_like_its_run(honest: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.zip"
    packed = CliRunner().invoke(bundle, [str(honest), "--out", str(file), "--plugins"])
    assert packed.exception is None and "audit ok" in packed.output
    result = CliRunner().invoke(
        audit,
        [str(file), "--plugins", "--against", str(honest), "--device", "cpu"],
        standalone_mode=False,
    )
    assert result.return_value == 0 and "identical, every row" in result.output


def zipped(file: Path, *contents: tuple[str, bytes]) -> bytearray:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in contents:
            packed.writestr(name, data)
    return bytearray(file.read_bytes())


FACTS = ("bundle.json", b'{"images": "none"}')
MANIFEST = ("manifest.json", b"{}" * 1000)


def central(data: bytearray, offset: int, value: bytes) -> None:
    """Change a field of the first entry of a zip file, in both places where it is written."""
    local, listed = data.index(b"PK\x03\x04"), data.index(b"PK\x01\x02")
    data[local + offset : local + offset + len(value)] = value
    data[listed + offset + 2 : listed + offset + 2 + len(value)] = value


def test_a_bundle_of_any_kind_of_damage_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "bad.zip"

    def encrypted(data: bytearray) -> None:
        central(data, 6, b"\x01\x00")

    def unknown_method(data: bytearray) -> None:
        central(data, 8, b"\x63\x00")

    def bad_deflate(data: bytearray) -> None:
        data[60:70] = b"\xff" * 10

    def wrong_sum(data: bytearray) -> None:
        central(data, 14, b"\x00\x00\x00\x00")

    def cut(data: bytearray) -> None:
        del data[len(data) // 2 :]

    for number, damage in enumerate((encrypted, unknown_method, bad_deflate, wrong_sum, cut)):
        data = zipped(file, MANIFEST, FACTS)
        damage(data)
        file.write_bytes(data)
        with pytest.raises(UsageError, match="no bundle") as caught:
            unpack(file, tmp_path / f"room{number}")
        assert "\n" not in caught.value.message


def test_a_bundle_with_a_name_twice_or_of_other_json_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bad.zip"
    with pytest.warns(UserWarning, match="Duplicate"):
        zipped(file, MANIFEST, FACTS, FACTS)
    with pytest.raises(UsageError, match="no bundle"):
        unpack(file, tmp_path / "twice")
    for number, facts in enumerate((b"", b"[]", b"[" * 10_000, b"\xff", b'{"images": NaN}', b"{}")):
        zipped(file, ("bundle.json", facts))
        with pytest.raises(UsageError, match="no bundle"):
            unpack(file, tmp_path / f"facts{number}")


def test_a_bundle_does_not_unpack_without_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "bad.zip"
    data = zipped(file, ("manifest.json", bytes(2**24)), FACTS)
    assert len(data) < 2**16
    monkeypatch.setattr("harness.audit.bundle.LARGEST", 2**20)
    with pytest.raises(UsageError, match="more than 1048576 bytes"):
        unpack(file, tmp_path / "claimed")
    central(data, 22, (1000).to_bytes(4, "little"))  # less than it has
    file.write_bytes(data)
    with pytest.raises(UsageError, match="no bundle"):
        unpack(file, tmp_path / "lied")
    assert sum(path.stat().st_size for path in (tmp_path / "lied").rglob("*")) < 2**21
    monkeypatch.undo()
    monkeypatch.setattr("harness.audit.bundle.SMALL", 2**20)
    zipped(file, ("manifest.json", bytes(2**24)), FACTS)
    with pytest.raises(UsageError, match="would unpack to more than 1048576 bytes"):
        unpack(file, tmp_path / "ratio")
    monkeypatch.setattr("harness.audit.bundle.MOST_FILES", 1)
    with pytest.raises(UsageError, match="more than 1 files"):
        unpack(file, tmp_path / "many")


def test_a_bundle_stays_in_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "bad.zip"
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("../outside", "x")
    with pytest.raises(UsageError, match="no file of a run"):
        unpack(file, tmp_path / "room")
    assert not (tmp_path / "outside").exists()


def test_a_bundle_s_list_of_files_is_bounded_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "many.zip"
    zipped(file, *((f"images/00/{number:032x}.png", b"") for number in range(2000)), FACTS)
    monkeypatch.setattr("harness.audit.bundle.LARGEST_DIRECTORY", 100_000)
    monkeypatch.setattr("zipfile.ZipInfo", None)  # no entry is made of what is not read
    with pytest.raises(UsageError, match="list of files has more than 100000 bytes"):
        unpack(file, tmp_path / "room")


def test_a_bundle_is_whole_or_not_there(
    honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.zip").write_text("before")
    monkeypatch.setattr("harness.audit.bundle.LARGEST_FILE", 10)
    packed = CliRunner().invoke(bundle, [str(honest), "--out", str(tmp_path / "run.zip")])
    assert isinstance(packed.exception, HarnessError)
    assert [path.name for path in tmp_path.iterdir()] == ["run.zip"]
    assert (tmp_path / "run.zip").read_text() == "before"
