"""What a loader would read is what the digest covers, whatever a checkpoint's files are called."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from harness.errors import HarnessError
from harness.models import contents
from harness.models.contents import model_files
from harness.models.digests import folder_digest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    root.mkdir()
    (root / "config.json").write_text("{}")
    return root


def index(folder: Path, *names: str, file: str = "model.safetensors.index.json") -> None:
    shards = {f"tensor{number}": name for number, name in enumerate(names)}
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(json.dumps({"metadata": {}, "weight_map": shards}))


def weights(path: Path, value: float = 0.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"tensor0": np.full(4, value, np.float32)}, path)


@pytest.mark.parametrize(
    "name",
    ["LICENSE.safetensors", ".w.safetensors", "README-1.safetensors", ".hidden/w.safetensors"],
)
def test_shards_count_whatever_they_are_called(folder: Path, name: str) -> None:
    index(folder, name)
    weights(folder / name)
    before = folder_digest(folder)
    weights(folder / name, 1.0)
    assert name in model_files(folder)
    assert folder_digest(folder) != before


def test_shards_of_a_part_lie_beside_its_index(folder: Path) -> None:
    index(folder, ".w.safetensors", file="transformer/diffusion.safetensors.index.json")
    weights(folder / "transformer/.w.safetensors")
    assert "transformer/.w.safetensors" in model_files(folder)


def test_weights_named_by_a_configuration_count(folder: Path) -> None:
    """An index whose own name would not count, and the shard that it names."""
    named = ".own.safetensors.index.json"
    (folder / "config.json").write_text(json.dumps({"transformers_weights": named}))
    index(folder, "NOTICE.safetensors", file=named)
    weights(folder / "NOTICE.safetensors")
    assert {named, "NOTICE.safetensors"} <= set(model_files(folder))


def test_tokenizer_files_named_by_a_configuration_count(folder: Path) -> None:
    named = ".v/tokenizer.4.0.0.json"
    (folder / "tokenizer_config.json").write_text(json.dumps({"fast_tokenizer_files": [named]}))
    (folder / ".v").mkdir()
    (folder / named).write_text("{}")
    assert named in model_files(folder)


@pytest.mark.parametrize("name", ["../../x/w.safetensors", "../w.safetensors", "/x/w.safetensors",
                                  "a/../../w.safetensors"])  # fmt: skip
@pytest.mark.parametrize("file", ["model.safetensors.index.json", "vae/w.safetensors.index.json"])
def test_an_index_that_leaves_its_folder_is_refused(folder: Path, name: str, file: str) -> None:
    index(folder, "w.safetensors", name, file=file)
    with pytest.raises(HarnessError, match="outside of its folder") as caught:
        folder_digest(folder)
    assert name in caught.value.message and file in caught.value.message


@pytest.mark.parametrize(
    ("file", "fields"),
    [
        ("config.json", {"transformers_weights": "../w.safetensors"}),
        ("text_encoder/config.json", {"transformers_weights": "/x/w.safetensors"}),
        ("tokenizer_config.json", {"fast_tokenizer_files": ["../x/tokenizer.4.0.0.json"]}),
    ],
)
def test_a_configuration_that_leaves_its_folder_is_refused(
    folder: Path, file: str, fields: dict[str, object]
) -> None:
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text(json.dumps(fields))
    with pytest.raises(HarnessError, match="outside of its folder"):
        folder_digest(folder)


def test_pickled_shards_and_adapters_are_refused(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "../x"}')
    with pytest.raises(HarnessError, match="an adapter"):
        folder_digest(folder)
    (folder / "adapter_config.json").unlink()
    index(folder, "w.bin")
    with pytest.raises(HarnessError, match=r"'w\.bin' as weights"):
        folder_digest(folder)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"weight_map": 3}', '{"weight_map": {"a": "no.safetensors"}}',
             '{"weight_map": {"a": "' + "n" * 999 + '.safetensors"}}',
             '{"weight_map": {"a": "\\u0000.safetensors"}}', "[" * 100_000],
)  # fmt: skip
def test_an_index_of_nothing_that_is_there_is_left_to_its_loader(folder: Path, text: str) -> None:
    """A hub id's unused variants keep their index and have no shards."""
    (folder / "model.fp16.safetensors.index.json").write_text(text)
    assert len(folder_digest(folder)) == 64


def test_a_link_counts_as_what_it_leads_to(folder: Path, tmp_path: Path) -> None:
    """As the hub's cache keeps files: links into a store of blobs beside the snapshot."""
    blob = tmp_path / "blobs" / "ab12"
    weights(blob)
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "config.json").write_text("{}")
    weights(plain / "model.safetensors")
    (folder / "model.safetensors").symlink_to(os.path.relpath(blob, folder))
    assert folder_digest(folder) == folder_digest(plain)
    weights(blob, 1.0)
    assert folder_digest(folder) != folder_digest(plain)


def test_a_linked_part_counts(folder: Path, tmp_path: Path) -> None:
    part = tmp_path / "elsewhere"
    weights(part / "w.safetensors")
    (folder / "transformer").symlink_to(part)
    before = folder_digest(folder)
    weights(part / "w.safetensors", 1.0)
    assert folder_digest(folder) != before


def test_links_that_lead_round_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "inner").mkdir()
    (folder / "inner" / "round").symlink_to(folder)
    (folder / "self").symlink_to("self")
    assert model_files(folder) == ["config.json"]
    monkeypatch.setattr(contents, "_MAX_FILES", 1)
    with pytest.raises(HarnessError, match="more than 1 files"):
        model_files(folder)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_pipes_and_devices_are_never_read(folder: Path, make: Callable[[Path], None]) -> None:
    make(folder / "model.safetensors")
    assert model_files(folder) == ["config.json"]
