"""The log keeps what it acknowledged, and says what is wrong with it."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError, UsageError
from harness.log import shards, store
from harness.log.environment import device_names, package_versions
from harness.log.files import write_atomically
from harness.log.images import ImageStore
from harness.log.manifest import Manifest, PromptSet, now
from harness.log.schema import CANDIDATES, SCHEMA_VERSION, content
from harness.records import Prompt
from harness.seeds import config_digest
from tests.runs import bare_config


def row(index: int, **fields: Any) -> dict[str, Any]:
    return {"run": "r", "prompt_id": f"{index // 4:05d}", "replicate": 0, "draw_index": index % 4,
            "draw_id": f"id{index}", "detections": [], "feedback": [], **fields}  # fmt: skip


def write(folder: Path, count: int, shard_rows: int = store.SHARD_ROWS) -> store.LogWriter:
    writer = store.LogWriter(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "SHARD_ROWS", shard_rows)
        for index in range(count):
            writer.append("candidates", row(index))
    return writer


def ids(folder: Path) -> list[str]:
    return store.read(folder, "candidates")["draw_id"].to_pylist()


def test_rows_come_back_as_they_went_in(tmp_path: Path) -> None:
    detection = {"label": "cat", "box": [0.0, 1.0, 2.0, 3.5], "score": 0.5, "color": None}
    full = row(0, accepted=True, judge_score=0.1, detections=[detection], correct=False,
               feedback=[{"draw_id": "x", "sentence": "no <b>cat</b>\n"}], attempts=2)  # fmt: skip
    writer = store.LogWriter(tmp_path)
    writer.append("candidates", full)
    writer.flush()
    back = store.read(tmp_path, "candidates").to_pylist()[0]
    assert {name: back[name] for name in full} == full
    assert all(value is None for name, value in back.items() if name not in full)


def test_a_shard_is_written_every_so_many_rows(tmp_path: Path) -> None:
    write(tmp_path, 25, shard_rows=10)
    assert len(list(tmp_path.glob("*.parquet"))) == 2 and len(ids(tmp_path)) == 20


def test_a_shard_is_written_every_so_many_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "SHARD_SECONDS", 60.0)
    writer = write(tmp_path, 3)
    writer.tick()
    assert ids(tmp_path) == []
    monkeypatch.setattr(store, "SHARD_SECONDS", 0.0)
    writer.tick()
    assert len(ids(tmp_path)) == 3


def test_a_new_writer_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    for _ in range(3):
        write(tmp_path, 4).flush()
    assert ids(tmp_path) == [f"id{i}" for i in range(4)] * 3


def test_compaction_changes_files_not_rows(tmp_path: Path) -> None:
    writer = write(tmp_path, 50, shard_rows=7)
    writer.compact()
    assert len(list(tmp_path.glob("candidates-*"))) == 1
    assert ids(tmp_path) == [f"id{i}" for i in range(50)]
    again = write(tmp_path, 1)
    again.flush()
    assert len(ids(tmp_path)) == 51


def test_a_log_can_be_read_while_its_shards_are_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = write(tmp_path, 25, shard_rows=10)
    discover, merged = shards.discover, []

    def listed(folder: Path, table: str) -> list[shards.Shard]:
        result = discover(folder, table)
        if not merged:
            merged.append(True)
            writer.compact()
        return result

    monkeypatch.setattr(shards, "discover", listed)
    assert len(ids(tmp_path)) == 25
    monkeypatch.undo()
    gone = shards.Shard(1, 1, "0", tmp_path / "gone")
    monkeypatch.setattr(shards, "discover", lambda *_: [gone])
    with pytest.raises(HarnessError, match="cannot read"):
        ids(tmp_path)


def test_a_crash_in_the_middle_of_compaction_doubles_nothing(tmp_path: Path) -> None:
    write(tmp_path, 20, shard_rows=5).flush()
    merged = store.read(tmp_path, "candidates")
    shards.write(tmp_path, "candidates", 1, 4, merged)  # and then the power went
    assert len(list(tmp_path.glob("candidates-*"))) == 5
    assert ids(tmp_path) == [f"id{i}" for i in range(20)]
    store.LogWriter(tmp_path).compact()
    assert len(list(tmp_path.glob("candidates-*"))) == 1
    assert ids(tmp_path) == [f"id{i}" for i in range(20)]


@pytest.mark.slow
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None
)
@given(data=st.data())
def test_any_flipped_bit_or_cut_is_noticed(tmp_path: Path, data: st.DataObject) -> None:
    write(tmp_path, 9, shard_rows=3)
    try:
        path = data.draw(st.sampled_from(sorted(tmp_path.glob("*.parquet"))))
        intact = path.read_bytes()
        position = data.draw(st.integers(0, len(intact) - 1))
        if data.draw(st.booleans()):
            path.write_bytes(intact[:position])
        else:
            flipped = bytearray(intact)
            flipped[position] ^= 1 << data.draw(st.integers(0, 7))
            path.write_bytes(bytes(flipped))
        with pytest.raises(HarnessError, match=path.name):
            store.read(tmp_path, "candidates")
    finally:
        for path in tmp_path.glob("*.parquet"):
            path.unlink()


def test_a_missing_shard_is_noticed(tmp_path: Path) -> None:
    write(tmp_path, 9, shard_rows=3)
    sorted(tmp_path.glob("*.parquet"))[1].unlink()
    with pytest.raises(HarnessError, match="shard 000002 of table 'candidates' is missing"):
        store.read(tmp_path, "candidates")


@pytest.mark.parametrize("also", [(), (4, 4), (6, 6)])
def test_shards_that_partly_overlap_are_named_and_double_nothing(
    tmp_path: Path, also: tuple[int, ...]
) -> None:
    for first, last in [(1, 3), (2, 5), *([also] if also else [])]:
        rows = [row(index) for index in range(first, last + 1)]
        table = pa.Table.from_pylist(rows, CANDIDATES)
        shard = shards.write(tmp_path, "candidates", first, last, table)
    (shard,) = tmp_path.glob("candidates-000002-000005-*")
    says = rf"{re.escape(shard.name)} in .* covers part of what another shard covers"
    with pytest.raises(HarnessError, match=says) as caught:
        ids(tmp_path)
    assert "two drivers" in caught.value.hint and "harness repair" in caught.value.hint
    with pytest.raises(HarnessError, match=says):
        store.LogWriter(tmp_path)
    result = shards.survey(tmp_path, "candidates")
    assert [s.path for s in result.rivals] == [shard] and not result.gaps


def test_a_file_that_is_no_shard_is_named(tmp_path: Path) -> None:
    (tmp_path / "candidates-backup.parquet").write_bytes(b"?")
    with pytest.raises(HarnessError, match=r"candidates-backup\.parquet"):
        store.read(tmp_path, "candidates")


def test_leftovers_of_a_crash_mean_nothing(tmp_path: Path) -> None:
    write(tmp_path, 3).flush()
    (tmp_path / ".tmp-abc").write_bytes(b"half a sh")
    assert len(ids(tmp_path)) == 3
    store.LogWriter(tmp_path)
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_newer_schema_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shards, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
        write(tmp_path, 1).flush()
    with pytest.raises(HarnessError, match="schema version"):
        store.read(tmp_path, "candidates")


def test_a_column_that_an_old_shard_lacks_is_null(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = pa.schema([field for field in CANDIDATES if field.name != "round"])
    with monkeypatch.context() as patch:
        patch.setitem(store.TABLES, "candidates", old)
        write(tmp_path, 2).flush()
    write(tmp_path, 1).flush()
    table = store.read(tmp_path, "candidates")
    assert table.schema.equals(CANDIDATES) and table.num_rows == 3


def test_content_leaves_out_what_may_differ() -> None:
    one = pa.Table.from_pylist([row(1, attempts=1), row(0, attempts=3)], CANDIDATES)
    two = pa.Table.from_pylist(
        [row(0, generator_worker="x", judge_nfe=3), row(1, generator_device_seconds=1.5)],
        CANDIDATES,
    )
    assert content(one) == content(two)
    assert content(one) != content(pa.Table.from_pylist([row(0), row(1, seed=5)], CANDIDATES))


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import os

    path = tmp_path / "file"
    write_atomically(path, b"old")

    def broken(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(HarnessError, match="No space left") as caught:
        write_atomically(path, b"new")
    assert "free some space" in caught.value.hint
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["file"]


def manifest() -> Manifest:
    config = bare_config()
    prompts = PromptSet.of([Prompt("0", "a cat")])
    return Manifest("r", config, config_digest(config), prompts, "cmd", {})


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = manifest().with_session({"host": "h"}).finished({"draws": 3}, ["x.parquet"])
    written.write(tmp_path / "manifest.json")
    assert Manifest.read(tmp_path / "manifest.json") == written


def test_a_bad_manifest_is_one_clear_sentence(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    with pytest.raises(UsageError, match="does not exist"):
        Manifest.read(path)
    for text in ("", "{", "[]", "{}", '{"schema_version": 1}'):
        path.write_text(text)
        with pytest.raises(HarnessError, match=r"manifest\.json"):
            Manifest.read(path)
    manifest().write(path)
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(HarnessError, match="schema version"):
        Manifest.read(path)


@pytest.mark.parametrize("config", [{"a": 2}, {}, [], None, "a"])
def test_a_config_that_is_not_its_digest_s_is_damage(tmp_path: Path, config: Any) -> None:
    path = tmp_path / "manifest.json"
    manifest().write(path)
    fields = json.loads(path.read_text()) | {"config": config}
    path.write_text(json.dumps(fields))
    with pytest.raises(HarnessError, match=r"manifest\.json is damaged: its config") as caught:
        Manifest.read(path)
    assert "restore it" in caught.value.hint
    # An audit reads on over another digest, and not over what is no config at all.
    with pytest.raises(HarnessError, match=r"manifest\.json is damaged: config"):
        Manifest.read(path, believed=False)
    other = {**manifest().config, "budget": 77}
    path.write_text(json.dumps(fields | {"config": other}))
    with pytest.raises(HarnessError, match="its config does not match its digest"):
        Manifest.read(path)
    assert Manifest.read(path, believed=False).config == other


HOSTILE: list[Any] = [None, True, -1, 0.5, 10**400, "", "x", [], [1], {}, {"a": {}}, [[[]]]]


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(item, (*path, key))


def test_a_manifest_with_anything_anywhere_is_read_or_refused(tmp_path: Path) -> None:
    session: dict[str, Any] = {"started": now(), "failures": {"judge": {"exception": 1}}}
    session |= {"workers": {"inline": {"device": "cpu"}}, "packages": {"torch": "2"}}
    written = replace(manifest(), environment={"packages": {"torch": "2"}, "git": None})
    written = written.with_session(session).finished({"draws": 3}, ["x.parquet"])
    path = tmp_path / "manifest.json"
    written.write(path)
    fields = json.loads(path.read_text())
    refused = 0
    for *outer, last in list(_leaves(fields)):
        for value in HOSTILE:
            changed = json.loads(json.dumps(fields))
            inner = changed
            for key in outer:
                inner = inner[key]
            inner[last] = value
            sys.set_int_max_str_digits(0)
            path.write_text(json.dumps(changed))
            sys.set_int_max_str_digits(4300)
            for believed in (True, False):
                try:
                    result = Manifest.read(path, believed=believed)
                except (HarnessError, UsageError) as error:
                    refused += 1
                    assert "manifest.json" in error.message and "\n" not in error.message
                    continue
                assert isinstance(result.latest, str) and now(result.latest)
                device_names(result.sessions)
                package_versions(result.environment, result.sessions)
    assert refused > 500


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a": NaN}', '{"schema_version": 1' + "0" * 5000 + "}", '{"a": 1, "a": 2}'],
)
def test_a_manifest_that_is_no_plain_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(HarnessError, match=r"manifest\.json") as caught:
        Manifest.read(tmp_path / "manifest.json")
    assert len(caught.value.message) < 500


def test_a_manifest_of_any_bytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "manifest.json").write_bytes(b"\xff\x00")
    with pytest.raises(HarnessError, match="cannot be read"):
        Manifest.read(tmp_path / "manifest.json")
    monkeypatch.setattr("harness.log.manifest.LARGEST", 10)
    with pytest.raises(HarnessError, match="at most 10"):
        manifest().write(tmp_path / "manifest.json")
        Manifest.read(tmp_path / "manifest.json")
    (tmp_path / "manifest.json").unlink()
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(HarnessError, match="no regular file"):
        Manifest.read(tmp_path / "manifest.json")


def test_times_stay_in_order_when_the_clock_is_set_back() -> None:
    ahead = (datetime.now(UTC) + timedelta(hours=2)).isoformat(timespec="seconds")
    assert now(ahead) == ahead
    assert now(ahead, elapsed=90) > ahead
    assert now("no time", "") <= ahead


def test_rows_stay_in_order_when_the_clock_is_set_back(tmp_path: Path) -> None:
    start = datetime.now(UTC)
    since = (start + timedelta(seconds=30)).isoformat(timespec="seconds")
    writer = store.LogWriter(tmp_path, since=since)
    hours = [0, 1, 5, -2, -1, 6]
    for index, hour in enumerate(hours):
        writer.append("candidates", row(index, time=start + timedelta(hours=hour)))
    writer.flush()
    times = store.read(tmp_path, "candidates")["time"].to_pylist()
    assert times == sorted(times) and times[0] >= datetime.fromisoformat(since)
    for index in (1, 2, 5):  # where the clock went on, a row's time is the clock's
        assert times[index] == start + timedelta(hours=hours[index])
    assert times[4] - times[2] < timedelta(seconds=60)


def test_the_prompt_set_digest_depends_on_everything_about_the_prompts() -> None:
    base = [Prompt("0", "a cat", "t", {"n": 1}), Prompt("1", "a dog")]
    others = [
        base[::-1], base[:1], [Prompt("0", "a cat", "t", {"n": 2}), base[1]],
        [Prompt("0", "a cat!", "t", {"n": 1}), base[1]],
    ]  # fmt: skip
    digests = {PromptSet.of(prompts).digest for prompts in [base, *others]}
    assert len(digests) == 5 and PromptSet.of(base) == PromptSet.of(list(base))


def test_an_image_goes_only_when_what_let_it_go_is_safe(tmp_path: Path) -> None:
    log = store.LogWriter(tmp_path / "log")
    images = ImageStore(tmp_path / "images", log)
    for digest in ("aa", "bb", "cc"):
        images.write(digest, b"png")
        images.hold(digest)
    log.append("candidates", row(0))
    for digest in ("aa", "bb"):
        images.release(digest)
    assert images.read("aa") == b"png"
    images.write("bb", b"png")  # another draw came out the same
    log.flush()
    assert sorted(path.stem for path in (tmp_path / "images").glob("*/*")) == ["bb", "cc"]


def test_numbers_go_on_after_the_last_of_six_digits(tmp_path: Path) -> None:
    rows = shards.TABLES["candidates"].empty_table()
    shards.write(tmp_path, "candidates", 1, 999_998, rows)
    for _ in range(3):
        write(tmp_path, 1).flush()
    assert [shard.last for shard in shards.discover(tmp_path, "candidates")][-2:] == [
        10**6,
        10**6 + 1,
    ]
    store.LogWriter(tmp_path).compact()
    assert [shard.range for shard in shards.discover(tmp_path, "candidates")] == [(1, 10**6 + 1)]
    assert ids(tmp_path) == ["id0"] * 3


def test_a_number_that_nobody_would_read_is_not_written(tmp_path: Path) -> None:
    rows = shards.TABLES["candidates"].empty_table()
    shards.write(tmp_path, "candidates", 1, 10**18 - 1, rows)
    with pytest.raises(HarnessError, match="no number is left"):
        write(tmp_path, 1).flush()
    shard = shards.discover(tmp_path, "candidates")[0].path
    shard.rename(shard.with_name(shard.name.replace("-000001-", "-0000001-")))
    with pytest.raises(HarnessError, match="is no shard"):
        shards.discover(tmp_path, "candidates")
