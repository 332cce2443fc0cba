from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from harness.interop import images
from harness.interop.images import BadImage, read
from harness.log import images as encoded
from harness.seeds import pixel_digest

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def saved(folder: Path, image: Pillow.Image, name: str = "0000.png", **how: Any) -> Path:
    path = folder / name
    image.save(path, **how)
    return path


def pixels_of(path: Path) -> Any:
    """What the scorer will see, by way of the bytes that a worker decodes."""
    picture = read(path, path.parent)
    seen = encoded.decode(picture.encoded)
    assert pixel_digest(seen) == picture.digest
    assert seen.shape == (picture.height, picture.width, 3)
    return seen


def test_a_plain_file_is_passed_on_as_it_is(tmp_path: Path) -> None:
    path = saved(tmp_path, Pillow.fromarray(PIXELS))
    assert np.array_equal(pixels_of(path), PIXELS)
    assert read(path, tmp_path).encoded == path.read_bytes()


def test_jpeg_whatever_it_is_called(tmp_path: Path) -> None:
    path = saved(tmp_path, Pillow.fromarray(PIXELS), "0000.png", format="JPEG")
    assert np.array_equal(pixels_of(path), np.asarray(Pillow.open(path)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_rotation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Pillow.fromarray(PIXELS), f"0000.{suffix}", exif=exif)
    stored = np.asarray(Pillow.open(path))
    turned = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: stored.transpose(1, 0, 2)[:, ::-1],
        7: stored.transpose(1, 0, 2)[::-1, ::-1],
        8: stored.transpose(1, 0, 2)[::-1],
    }[orientation]
    assert np.array_equal(pixels_of(path), turned)


@pytest.mark.parametrize(
    ("kind", "count", "value"),
    [
        *((3, 1, b"\6\0\0\0"), (3, 1, b"c\0\0\0"), (3, 2, b"\6\0\6\0"), (3, 0, b"\0\0\0\0")),
        *((2, 2, b"6\0\0\0"), (7, 4, b"6666"), (1, 1, b"\6\0\0\0"), (11, 1, b"\0\0\xc0@")),
    ],
)
@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_orientation_of_any_type_is_read_as_one_size(
    tmp_path: Path, kind: int, count: int, value: bytes, suffix: str
) -> None:
    entry = struct.pack("<HHHI", 1, 0x0112, kind, count) + value
    exif = b"Exif\0\0II*\0\x08\0\0\0" + entry + bytes(4)
    path = saved(tmp_path, Pillow.fromarray(PIXELS), f"0000.{suffix}", exif=exif)
    assert images.size_of(path) == pixels_of(path).shape[:2]


def test_what_is_no_file_any_more_has_no_size(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "0000.png")
    assert images.size_of(tmp_path / "0000.png") is images.size_of(tmp_path / "gone.png") is None


def test_opaque_alpha_is_dropped_and_transparency_refused(tmp_path: Path) -> None:
    alpha = np.full((6, 9, 1), 255, np.uint8)
    path = saved(tmp_path, Pillow.fromarray(np.concatenate([PIXELS, alpha], 2)))
    assert np.array_equal(pixels_of(path), PIXELS)
    alpha[2, 3] = 254
    path = saved(tmp_path, Pillow.fromarray(np.concatenate([PIXELS, alpha], 2)))
    with pytest.raises(BadImage, match=r"0000\.png: partly transparent"):
        read(path, tmp_path)
    grey = Pillow.fromarray(PIXELS[..., 0])
    path = saved(tmp_path, grey, transparency=int(PIXELS[0, 0, 0]))
    with pytest.raises(BadImage, match="transparent"):
        read(path, tmp_path)


def test_palette_grey_and_cmyk(tmp_path: Path) -> None:
    palette = Pillow.fromarray(PIXELS).quantize(8)
    assert np.array_equal(pixels_of(saved(tmp_path, palette)), np.asarray(palette.convert("RGB")))
    with pytest.raises(BadImage, match="transparent"):
        read(saved(tmp_path, palette, transparency=0), tmp_path)
    grey = PIXELS[..., 0]
    assert np.array_equal(
        pixels_of(saved(tmp_path, Pillow.fromarray(grey))), np.stack([grey] * 3, axis=-1)
    )
    cmyk = saved(tmp_path, Pillow.fromarray(PIXELS).convert("CMYK"), "1.jpg")
    assert np.array_equal(pixels_of(cmyk), np.asarray(Pillow.open(cmyk).convert("RGB")))


def test_sixteen_bits_become_eight_by_their_high_byte(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    deep = np.random.default_rng(1).integers(0, 65536, (6, 9, 3), dtype=np.uint16)
    path = tmp_path / "0000.png"
    assert cv2.imwrite(str(path), deep[..., ::-1])
    assert np.array_equal(pixels_of(path), (deep >> 8).astype(np.uint8))
    assert cv2.imwrite(str(path), deep[..., 0])
    assert np.array_equal(pixels_of(path)[..., 1], (deep[..., 0] >> 8).astype(np.uint8))


def test_one_pixel_is_an_image(tmp_path: Path) -> None:
    assert pixels_of(saved(tmp_path, Pillow.fromarray(PIXELS[:1, :1]))).shape == (1, 1, 3)


def chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


def png(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, body) for kind, body in chunks)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"hello", "neither PNG nor JPEG"),
        (png(20_000, 20_000), "pixels"),
        (png(9_000, 9_000), "more than"),
        (png(4, 4), "damaged"),
        (png(0, 0), "neither|damaged"),
    ],
    ids=["empty", "text", "huge", "large", "no pixels", "no size"],
)
def test_what_is_no_image_is_refused_by_name(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "0007.png"
    path.write_bytes(data)
    with pytest.raises(BadImage, match=why) as caught:
        read(path, tmp_path)
    assert "0007.png" in caught.value.message


def scans(number: int) -> bytes:
    """A JPEG whose last scan is there so many times more."""
    buffer = io.BytesIO()
    Pillow.fromarray(PIXELS).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * number + data[-2:]


@pytest.mark.parametrize(
    ("begin", "piece", "times"),
    [
        ("PNG", chunk(b"tEXt", b"k\0" + b"a" * 2**20), 17),
        ("PNG", chunk(b"tIME", bytes(7)), 70_000),
        ("PNG", chunk(b"IDAT", b""), 70_000),
        ("JPEG", b"\xff\xe1\xff\xffExif\0\0" + bytes(65_535 - 8), 300),
        ("JPEG", b"\xff\xfe\0\3a", 70_000),
    ],
    ids=["texts", "chunks", "empty chunks", "notes", "segments"],
)
def test_what_is_no_pixels_does_not_keep_the_reader_busy(
    tmp_path: Path, begin: str, piece: bytes, times: int
) -> None:
    data, path = whole(begin), tmp_path / "0000.png"
    head = 33 if begin == "PNG" else 2
    path.write_bytes(data[:head] + piece * 2 + data[head:])
    if b"IDAT" not in piece:
        assert images.size_of(path) == pixels_of(path).shape[:2] == PIXELS.shape[:2]
    path.write_bytes(data[:head] + piece * times + data[head:])
    with pytest.raises(BadImage, match=r"0000\.png: it has more than \d+ (bytes|chunks)"):
        read(path, tmp_path)
    assert images.size_of(path) is None
    if begin == "PNG":
        assert "no picture" in encoded.verify(path.read_bytes(), pixel_digest(PIXELS))


def test_a_jpeg_of_many_scans_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "0.jpg"
    path.write_bytes(scans(20))
    assert pixels_of(path).shape == PIXELS.shape
    path.write_bytes(scans(99))
    with pytest.raises(BadImage, match="more than 64 scans"):
        read(path, tmp_path)


@pytest.mark.filterwarnings("error")
def test_what_is_odd_about_an_image_is_no_warning(tmp_path: Path) -> None:
    data, path = whole("PNG"), tmp_path / "0.png"
    for odd in (chunk(b"acTL", b"\xff" * 8), chunk(b"eXIf", b"MM\0*" + b"\xff" * 99)):
        path.write_bytes(data[:33] + odd + data[33:])
        assert images.size_of(path) == pixels_of(path).shape[:2]


def test_other_formats_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, Pillow.fromarray(PIXELS), format="GIF")
    with pytest.raises(BadImage, match="neither PNG nor JPEG"):
        read(path, tmp_path)


def test_links_may_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    outside = saved(tmp_path, Pillow.fromarray(PIXELS))
    folder = tmp_path / "inside"
    folder.mkdir()
    (folder / "0.png").symlink_to(outside)
    with pytest.raises(BadImage, match="leads out"):
        read(folder / "0.png", folder)
    inside = saved(folder, Pillow.fromarray(PIXELS), "1.png")
    (folder / "2.png").symlink_to(inside)
    assert read(folder / "2.png", folder).digest == pixel_digest(PIXELS)
    (folder / "3.png").symlink_to("nowhere.png")
    (folder / "4.png").symlink_to("4.png")
    (folder / "5.png").mkdir()
    os.mkfifo(folder / "6.png")
    for number in (3, 4, 5, 6):
        with pytest.raises(BadImage, match=rf"{number}\.png"):
            read(folder / f"{number}.png", folder)


def test_a_file_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, Pillow.fromarray(PIXELS))
    monkeypatch.setattr(images, "MAX_BYTES", 10)
    with pytest.raises(BadImage, match="bytes, more than 10"):
        read(path, tmp_path)


def whole(suffix: str) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(PIXELS).save(buffer, suffix)
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", ["PNG", "JPEG"])
def test_half_a_file_is_refused(tmp_path: Path, suffix: str) -> None:
    data = whole(suffix)
    path = tmp_path / "0000.png"
    for part in (0.1, 0.5, 0.7):
        path.write_bytes(data[: int(len(data) * part)])
        with pytest.raises(BadImage, match=r"0000\.png"):
            read(path, tmp_path)


@given(
    suffix=st.sampled_from(["PNG", "JPEG"]),
    flips=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damage_is_either_harmless_or_refused(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, flips: list[tuple[int, int]]
) -> None:
    data = bytearray(whole(suffix))
    for place, value in flips:
        data[place % len(data)] = value
    folder = tmp_path_factory.getbasetemp() / "damage"
    folder.mkdir(exist_ok=True)
    path = folder / "0.png"
    path.write_bytes(data)
    try:
        picture = read(path, folder)
    except BadImage as error:
        assert "0.png" in error.message
    else:
        assert pixel_digest(encoded.decode(picture.encoded)) == picture.digest
