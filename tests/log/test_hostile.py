"""Folders and files that somebody else made: nothing is followed, waited for or unpacked unseen."""

from __future__ import annotations

import ast
import errno
import fcntl
import hashlib
import io
import os
import socket
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pillow

from harness.errors import HarnessError
from harness.log import files, images, shards, store
from harness.log.files import check_entries, make_folder, read_file, write_atomically
from harness.log.images import ImageStore, decode, encode, verify
from harness.log.lock import exclusive, is_held
from harness.log.run_folder import RunFolder
from harness.log.schema import CANDIDATES


def link(path: Path) -> None:
    path.symlink_to("elsewhere")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def server(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


MAKE = [link, pipe, server]
PLACES = ["images", "log", ".lock", "log/x.parquet", "images/ab/x.png", "manifest.json", "other"]


@pytest.mark.parametrize("make", MAKE)
@pytest.mark.parametrize("place", PLACES)
def test_a_run_folder_with_a_link_or_a_pipe_is_refused(
    tmp_path: Path, make: Callable[[Path], None], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    run = Path("r")
    (run / place).parent.mkdir(parents=True)
    if place != "manifest.json":
        (run / "manifest.json").write_text("{}")
    make(run / place)
    with pytest.raises(HarnessError, match=r"run's folder holds files only"):
        RunFolder.existing(run)
    with pytest.raises(HarnessError, match=r"run's folder holds files only"), exclusive(run):
        pass


def test_a_run_may_lie_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk" / "run").mkdir(parents=True)
    (tmp_path / "disk" / "run" / "manifest.json").write_text("{}")
    (tmp_path / "results").symlink_to(tmp_path / "disk")
    assert RunFolder.existing(tmp_path / "results" / "run").is_run
    with exclusive(tmp_path / "results" / "run"):
        pass


def test_prune_removes_only_images_that_it_wrote(tmp_path: Path) -> None:
    saved = ImageStore(tmp_path)
    pixels = np.zeros((2, 2, 3), np.uint8)
    digest = "ab" + "0" * 30
    saved.write(digest, encode(pixels))
    others = ["ab/notes.txt", "ab/" + "cd" + "0" * 30 + ".png", "notes/x.png", "ab/x.png"]
    for name in others:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    saved.prune()
    assert not saved.path(digest).exists()
    assert all((tmp_path / name).read_text() == "mine" for name in others)


def test_a_lock_never_writes_into_another_file(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    run = tmp_path / "run"
    run.mkdir()
    os.link(victim, run / ".lock")
    with pytest.raises(HarnessError, match="no lock"), exclusive(run):
        pass
    assert victim.read_text() == "precious"


def test_an_unlinked_lock_has_no_two_holders(tmp_path: Path) -> None:
    with exclusive(tmp_path):
        (tmp_path / ".lock").unlink()
        # The name is free again, so that this is another file; whoever holds it has its name.
        with exclusive(tmp_path):
            assert is_held(tmp_path)
    assert not is_held(tmp_path)


def test_a_lock_that_is_replaced_while_it_is_taken_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, replaced = fcntl.flock, []

    def flock(descriptor: int, flags: int) -> None:
        real(descriptor, flags)
        if not replaced:
            replaced.append(True)
            (tmp_path / ".lock").unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    with exclusive(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"pid {os.getpid()}"


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def flock(descriptor: int, flags: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(HarnessError, match="without locks") as caught, exclusive(tmp_path):
        pass
    assert "--out" in caught.value.hint


@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o007, 0o660)])
def test_the_umask_is_honoured(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        make_folder(tmp_path / "folder")
        write_atomically(tmp_path / "folder" / "file", b"x")
        with exclusive(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "folder" / "file").stat().st_mode & 0o777 == mode
    assert (tmp_path / "folder" / ".lock").stat().st_mode & 0o777 == mode
    assert (tmp_path / "folder").stat().st_mode & 0o077 & mask == 0


def test_a_folder_that_cannot_be_flushed_stops_nobody_a_file_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def fsync(descriptor: int, folders: bool = True) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}") == folders:
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(tmp_path / "file", b"x")
    assert (tmp_path / "file").read_bytes() == b"x"
    monkeypatch.setattr(os, "fsync", lambda descriptor: fsync(descriptor, folders=False))
    with pytest.raises(HarnessError, match="Invalid argument"):
        write_atomically(tmp_path / "other", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_is_read_up_to_a_bound(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_file(tmp_path / "file", 5) == b"12345"
    with pytest.raises(OSError, match="at most 4"):
        read_file(tmp_path / "file", 4)
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(OSError, match="symbolic links"):
        read_file(tmp_path / "link", 5)
    with pytest.raises(OSError):
        read_file(Path("/dev/zero"), 5)


def shard(folder: Path, data: bytes, table: str = "candidates") -> None:
    folder.mkdir(exist_ok=True)
    digest = hashlib.sha256(data).hexdigest()[:16]
    (folder / f"{table}-000001-000001-{digest}.parquet").write_bytes(data)


def parquet(table: pa.Table, **options: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def with_column(name: str, values: object) -> pa.Table:
    """A row of which one column is another."""
    row = pa.Table.from_pylist([{"prompt_id": "p", "replicate": 0, "draw_index": 0}], CANDIDATES)
    return row.set_column(row.column_names.index(name), name, pa.array(values))


def bomb() -> pa.Table:
    """A megabyte that stands for itself in each of 5,000 rows."""
    rows = 5_000
    keys = {
        "prompt_id": pa.array(["p"] * rows),
        "replicate": pa.array([0] * rows, pa.int32()),
        "draw_index": pa.array(range(rows), pa.int32()),
    }
    value = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(rows, np.int32)), pa.array(["x" * 2**20])
    )
    others = {field.name: pa.nulls(rows, field.type) for field in CANDIDATES}
    return pa.table({**others, **keys, "reason": value})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no Parquet at all", "no Parquet file"),
        (b"", "no Parquet file"),
        (parquet(CANDIDATES.empty_table())[:-9], "no Parquet file"),
        (parquet(pa.table({"prompt_id": ["p"]})), "has no column 'replicate'"),
        *(
            (parquet(CANDIDATES.empty_table().drop_columns([name])), f"has no column '{name}'")
            for name in ("run", "settings", "correct", "generator_flops")
        ),
        *(
            (parquet(with_column("settings", [text])), "'settings' has a value that is no JSON")
            for text in ("", "[]", "{", '{"a": NaN}', "[" * 9999)
        ),
        (
            parquet(with_column("prompt_id", [["p"]])),
            "column 'prompt_id' is list",
        ),
        (
            parquet(with_column("replicate", ["x"])),
            "column 'replicate' is string",
        ),
        (
            parquet(
                pa.table({"prompt_id": ["p"]}).replace_schema_metadata({"schema_version": "x"})
            ),
            "no Parquet file",
        ),
    ],
)
def test_a_shard_that_is_none_is_one_sentence(tmp_path: Path, data: bytes, message: str) -> None:
    shard(tmp_path / "log", data)
    with pytest.raises(HarnessError, match=message) as caught:
        store.read(tmp_path / "log", "candidates")
    assert "repair" in caught.value.hint


@pytest.mark.slow
def test_a_shard_does_not_unpack_without_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = parquet(bomb())
    assert len(data) < 2**21
    monkeypatch.setattr(shards, "LARGEST_UNPACKED", 2**27)
    monkeypatch.setattr(shards, "BATCH_BYTES", 2**24)
    shard(tmp_path / "log", data)
    before = pa.total_allocated_bytes()
    with pytest.raises(HarnessError, match="unpacks to more"):
        store.read(tmp_path / "log", "candidates")
    (result,) = shards.discover(tmp_path / "log", "candidates")
    assert "unpacks to more" in shards.verify(result)
    assert pa.total_allocated_bytes() - before < 2**28
    monkeypatch.setattr(shards, "MOST_ROWS", 1000)
    with pytest.raises(HarnessError, match="claims 5000 rows"):
        store.read(tmp_path / "log", "candidates")


@pytest.mark.parametrize("make", [pipe, server, Path.mkdir])
def test_a_shard_that_is_no_file_is_one_sentence(
    tmp_path: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("log").mkdir()
    make(Path("log") / f"candidates-000001-000001-{'0' * 16}.parquet")
    with pytest.raises(HarnessError, match="cannot read"):
        store.read(Path("log"), "candidates")


def picture(format: str, size: tuple[int, int] = (4, 4)) -> bytes:
    buffer = io.BytesIO()
    Pillow.new("RGB", size, "red").save(buffer, format)
    return buffer.getvalue()


@pytest.mark.parametrize("format", ["EPS", "TIFF", "GIF", "BMP", "PPM", "ICO", "JPEG"])
def test_a_run_s_image_is_read_as_png_or_not_at_all(format: str) -> None:
    data = picture(format)
    with pytest.raises(Exception, match="identify"):
        decode(data)
    assert "no picture" in verify(data, "0" * 32)


def test_an_image_is_not_unpacked_beyond_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decode(picture("PNG")).shape == (4, 4, 3)
    monkeypatch.setattr(images, "MAX_PIXELS", 15)
    with pytest.raises(ValueError, match="more than 15"):
        decode(picture("PNG"))


def test_a_small_file_that_claims_a_huge_image_is_refused_before_it_is_unpacked() -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    side = (60_000).to_bytes(4, "big")
    header = side + side + bytes([8, 2, 0, 0, 0])
    pixels = zlib.compress(bytes(2**20))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)
    with pytest.raises(Exception, match=r"exceeds limit|more than"):
        decode(data + chunk(b"IEND", b""))


def test_looking_through_a_folder_is_quick_for_many_images(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number:02x}").mkdir()
        for name in range(50):
            (tmp_path / f"{number:02x}" / str(name)).touch()
    seen: list[str] = []
    real = os.stat

    def stat(path: object, *arguments: object, **options: object) -> object:
        seen.append(str(path))
        return real(path, *arguments, **options)  # type: ignore[call-overload]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "stat", stat)
        check_entries(tmp_path)
    assert len(seen) < 20  # the listing says what an entry is; a look at each would be slow
    assert files.TEMPORARY


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("replicate", -1),
        ("replicate", 2_000_000_000),
        ("draw_index", -1),
        ("draw_index", 2_000_000_000),
        ("prompt_id", None),
        ("replicate", None),
        ("time", 2**62),
        ("time", -(2**62)),
    ],
)
def test_a_shard_whose_rows_have_no_names_of_rows_or_times_is_refused_by_reader_and_check(
    tmp_path: Path, column: str, value: object
) -> None:
    row = {"prompt_id": "p", "replicate": 0, "draw_index": 0, column: value}
    shard(tmp_path / "log", parquet(pa.Table.from_pylist([row], CANDIDATES)))
    with pytest.raises(HarnessError, match=f"column '{column}' has"):
        store.read(tmp_path / "log", "candidates")
    (result,) = shards.discover(tmp_path / "log", "candidates")
    assert f"column '{column}' has" in shards.verify(result)


def test_a_shard_of_other_columns_is_damage_for_repair_and_audit_too(tmp_path: Path) -> None:
    shard(tmp_path / "log", parquet(pa.table({"prompt_id": ["p"], "replicate": ["x"]})))
    (result,) = shards.discover(tmp_path / "log", "candidates")
    assert "has no column 'draw_index'" in shards.verify(result)


def test_no_image_is_opened_without_its_formats_and_no_text_without_its_encoding() -> None:
    root, calls = Path(__file__).resolve().parents[2], 0
    for file in (path for name in PACKAGES for path in (root / name).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            name = ast.unparse(node.func)
            assert name not in ("cv2.imread", "cv2.imdecode", "plt.imread"), file
            if name.endswith((".read_text", ".write_text")):  # else it is the machine's affair
                assert "encoding" in {keyword.arg for keyword in node.keywords}, file
            if name in ("Pillow.open", "Image.open", "PIL.Image.open"):
                calls += 1
                assert "formats" in {keyword.arg for keyword in node.keywords}, file
    assert calls >= 3


PACKAGES = ("harness", "strategies", "benchmarks")
