"""The measurement of a GPU: parts that fail alone, and tables that say what the file says."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.errors import HarnessError
from tests.perf.gpu import measure, parts
from tests.perf.gpu.__main__ import main
from tests.perf.gpu.parts import Recorder, run_part
from tests.perf.gpu.table import markdown, read_measurement


def mixed(record: Recorder) -> None:
    with record.guarded(what="good", batch=1) as row:
        row["seconds"] = 2.0
    with record.guarded(what="bad", batch=2) as row:
        raise RuntimeError("CUDA error: an illegal\nmemory access")


def fails(record: Recorder) -> None:
    record.add(what="before")
    raise ValueError("no such model")


def hangs(record: Recorder) -> None:
    record.add(what="before")
    time.sleep(600)


def dies(record: Recorder) -> None:
    record.add(what="before")
    os._exit(3)


@pytest.mark.slow
def test_a_part_fails_alone_and_keeps_what_it_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PRELOADED", ())
    outcome = run_part(mixed, 60)
    assert outcome.error is None and outcome.rows == [
        {"what": "good", "batch": 1, "seconds": 2.0},
        {"what": "bad", "batch": 2, "error": "RuntimeError: CUDA error: an illegal"},
    ]
    for part, limit, error in (
        (fails, 60, "ValueError: no such model"),
        (hangs, 10, "past its limit of 10 s"),
        (dies, 60, "its process ended with 3"),
    ):
        outcome = run_part(part, limit)
        assert (outcome.error, outcome.rows) == (error, [{"what": "before"}]), part
        assert outcome.seconds < 60


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_parts_at_a_tiny_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = {name: replace(part, limit=600) for name, part in measure.PARTS.items()}
    monkeypatch.setattr(measure, "PARTS", patient)  # the limits are those of a quiet machine
    out = tmp_path / "gpu.json"
    names = ["sana", "scorer", "judge", "invariance"]
    chosen = [option for name in names for option in ("--part", name)]
    result = CliRunner().invoke(main, ["--tiny", "--device", "cpu", "--out", str(out), *chosen])
    assert result.exit_code == 0, result.output
    content = json.loads(out.read_text())
    assert list(content["parts"]) == names
    for name, part in content["parts"].items():
        assert part["error"] is None and part["rows"], name
        assert not any("error" in row for row in part["rows"]), part
    for row in content["parts"]["invariance"]["rows"]:
        assert row["alone"] == row["elsewhere"] == row["again"] == 0
    table = markdown(read_measurement(out))
    assert "| SANA |" in table and "generator, 0 feedbacks, batches of 8: alone equal" in table


def _file(tmp_path: Path, **changes: object) -> Path:
    rows = [
        {"what": "whole batches", "batch": 1, "feedbacks": 0, "images_per_second": 2.0},
        {"what": "whole batches", "batch": 8, "feedbacks": 0, "images_per_second": 5.0,
         "memory_bytes": 3 * 2**30},
        {"what": "whole batches", "batch": 16, "feedbacks": 0, "error": "out of memory"},
    ]  # fmt: skip
    steps = [
        {"what": "step", "way": "eager", "batch": 8, "seconds": 0.8},
        {"what": "step", "way": "CUDA graph", "batch": 8, "error": "not | captured"},
        {"what": "step", "way": "CUDA graph", "batch": 1, "error": "not | captured"},
    ]
    bits = [{"what": "generator", "batch": 8, "alone": 0.0, "elsewhere": 3.0}]
    content = {
        "version": 1, "device": "GPU <b>|x", "scale": "full", "steps": 20, "side": 1024,
        "seconds": 120.0, "environment": {"packages": {"torch": "2.13"}},
        "parts": {
            "sana": {"seconds": 1.0, "rows": rows},
            "networks": {"seconds": 1.0, "rows": steps, "error": "past its limit of 120 s"},
            "invariance": {"seconds": 1.0, "rows": bits},
        },
        **changes,
    }  # fmt: skip
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps(content))
    return path


def test_tables_say_what_was_measured_and_what_failed(tmp_path: Path) -> None:
    text = markdown(read_measurement(_file(tmp_path)))
    assert text.startswith(r"**GPU \<b\>\|x**, torch 2.13, models of full size")
    assert "| SANA | 2 | 5 | 2.50× | 3.0 |" in text
    assert "| eager | 100 |" in text
    assert "- sana, whole batches, batches of 16: out of memory" in text
    assert r"- networks, step, CUDA graph, batches of 8, 1: not \| captured" in text
    assert "- networks ended early: past its limit of 120 s" in text
    assert "alone equal, at another place off by 3" in text and "batches of one" in text


@pytest.mark.parametrize(
    "changes", [{"version": 2}, {"parts": []}, {"parts": {"sana": {"rows": "x"}}}, {"side": "wide"}]
)
def test_another_file_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(HarnessError, match="is no measurement of a GPU"):
        read_measurement(_file(tmp_path, **changes))


def test_without_a_gpu_nothing_of_full_size_begins(tmp_path: Path) -> None:
    def refusal(*options: object) -> HarnessError:
        result = CliRunner().invoke(main, [str(option) for option in options])
        assert isinstance(result.exception, HarnessError)
        return result.exception

    assert refusal("--device", "cpu").hint == "add --tiny"
    (tmp_path / "no.json").write_text("[" * 100_000)
    assert "make one with" in refusal("--table", tmp_path / "no.json").hint
    wrong = refusal("--tiny", "--device", "cpu", "--part", "sanna")
    assert "did you mean 'sana'" in wrong.hint
