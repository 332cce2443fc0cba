"""What others made is audited as far as it can be, and the table says what could not be checked."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.audit.audit import audit
from harness.audit.audited_run import AuditedRun, Options
from harness.audit.result import Result, Status
from harness.log.run_folder import RunFolder
from tests.audit.forging import Forger, Rows
from tests.foreign import imported, script_output

UNKNOWN = {
    "flops": "nobody knows what made the images",
    "verdicts": "the evidence for verdicts made elsewhere is not on record",
    "regeneration": "the images were made elsewhere",
    "rescoring": "the images are not in the run's folder",
    "sessions": "no session of work is on record",
    "origins": "no draw is another run's",
    "against": "no other run was given",
    "report": "no report is in the run's folder",
    "measured": "nothing was measured afterwards",
    "published": "no published score is of recorded",
}
"""What cannot be checked of an imported run, and why."""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the official Reflect-DiT script leaves: whole, and broken off."""
    root = tmp_path_factory.mktemp("script")
    source = script_output(root / "source", prompts=8)
    imported(source, root / "whole")
    imported(source, root / "bare", keep_images=False)
    samples = source / "00000" / "samples"
    for index in range(5, 12):
        (samples / f"{index:05d}.png.feedback.json").unlink()
    (samples / "00001.png").write_bytes(b"no image")
    imported(source, root / "broken")
    return root


def results(path: Path) -> dict[str, Result]:
    actual = audit(AuditedRun(RunFolder(path), Options(regenerate=5, rescore=5)))
    return {result.check: result for result in actual}


@pytest.mark.parametrize("name", ["whole", "bare", "broken"])
def test_what_can_be_checked_passes_and_the_rest_says_why_not(name: str, script: Path) -> None:
    actual = results(script / name)
    unknown = UNKNOWN | ({"images": "images were not kept"} if name == "bare" else {})
    for check, result in actual.items():
        if check in unknown:
            assert result.outcome is Status.NOT_APPLICABLE, result
            assert result.evidence[0].startswith(unknown[check])
        elif check != "provenance":
            assert result.outcome is Status.PASS, result
    assert actual["provenance"].outcome is Status.CLAIMED
    output = [line for result in actual.values() for line in result.evidence]
    assert "seeds and feedback of images made elsewhere are unknown" in output
    assert "which models judged and scored is not on record" in output
    assert "what the generator and the judge and the scorer spent is not on record" in output
    failed = "7 failed" if name == "broken" else "0 failed"
    assert any(line.endswith(failed) for line in actual["completeness"].evidence)


def change(**values: object) -> Callable[[Forger], None]:
    return lambda forger: forger.rewrite("candidates", lambda result: result[0].update(values))


def _drop(forger: Forger) -> None:
    forger.rewrite("candidates", lambda result: result[1:])


def _select(forger: Forger) -> None:
    """An earlier image is what was selected, id and all."""
    ids = {(r["prompt_id"], r["draw_index"]): r["draw_id"] for r in forger.read("candidates")}

    def move(result: Rows) -> None:
        row = next(row for row in result if row["draws"] > 1)
        row.update(selected_index=0, selected_id=ids[row["prompt_id"], 0])

    forger.rewrite("searches", move)


def _swap(forger: Forger) -> None:
    first, second = sorted(forger.folder.images.glob("*/*"))[:2]
    first.write_bytes(second.read_bytes())


def _prompts(forger: Forger) -> None:
    path = forger.folder.path / "prompts.jsonl"
    path.write_text(path.read_text().replace("a photo of", "a picture of", 1))


FORGERIES: dict[str, tuple[str, Callable[[Forger], None]]] = {
    "a row deleted": ("completeness", _drop),
    "an easier prompt": ("completeness", _prompts),
    "an id that is not its image's": ("identities", change(draw_id="0" * 32)),
    "a seed made up": ("rows", change(seed=7)),
    "a cost made up": ("costs", change(generator_device_seconds=1.0)),
    "an image swapped": ("images", _swap),
    "accepted, and yet the search goes on": ("decisions", change(accepted=True)),
    "a selection moved": ("decisions", _select),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", FORGERIES)
def test_forgeries(name: str, script: Path, tmp_path: Path) -> None:
    expected, forge = FORGERIES[name]
    shutil.copytree(script / "whole", tmp_path / "forged")
    forge(Forger(tmp_path / "forged"))
    assert results(tmp_path / "forged")[expected].failed


def test_a_benchmark_that_judged_itself_is_labelled(tmp_path: Path) -> None:
    source = script_output(tmp_path / "source", prompts=3)
    for path in source.glob("**/*.feedback.json"):
        path.write_text(path.read_text().replace("_verifier", "_other"))
    imported(source, tmp_path / "run")
    result = results(tmp_path / "run")["leakage"]
    assert result.outcome is Status.NOT_APPLICABLE
    assert result.evidence[0].startswith("an oracle run, and says so")
