"""The protocol is compared by values and contents, not by how a config spells them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.comparison import common
from harness.analysis.protocol import check_comparable, protocol_differences
from harness.log.manifest import Manifest, PromptSet
from harness.runs.loading import load_run
from harness.runs.logged_run import LoggedRun
from harness.runs.measurement import measurement, resolution
from tests.analysis.conftest import MakeRun
from tests.foreign import imported, script_output

DEFAULTS = {"backend": "transformers", "max_overlap": 1.0, "resize": None}
SPECS: dict[str, Any] = {
    "strategy": {"name": "single", "options": {}},
    "benchmark": {"name": "geneval", "options": {"seed": 43, "size": 100}},
    "generator": {"kind": "sana", "settings": {"height": 64, "width": 64}, "checkpoints": {}},
    "judge": {"kind": "none", "checkpoints": {}},
    "scorer": {
        "kind": "",
        "checkpoints": {"detector": "here", "colors": "there"},
        "dtype": "float32",
        "settings": DEFAULTS,
    },
    "digests": {"generator.pipeline": "a", "scorer.detector": "b", "scorer.colors": "c"},
    "suite": "s",
}


def manifest(totals: dict[str, Any] | None = None, **parts: dict[str, Any]) -> Manifest:
    config = {
        name: {**value, **parts.get(name, {})} if isinstance(value, dict) else value
        for name, value in SPECS.items()
    }
    return Manifest("r", config, "", PromptSet(1, "p"), "", {}, totals=totals or {})


def differing(other: Manifest) -> set[str]:
    one, two = measurement(manifest(), ["p"]), measurement(other, ["p"])
    return {name for name in one if one[name] != two[name]}


@pytest.mark.parametrize(
    "same",
    [
        manifest(benchmark={"options": {}}),
        manifest(benchmark={"options": {"seed": 7}}),
        manifest(scorer={"settings": {}}),
        manifest(scorer={"settings": {"max_overlap": 1}}),
        manifest(scorer={"checkpoints": {"detector": "/elsewhere", "colors": "copy"}}),
        manifest(digests={"generator.pipeline": "another"}),
    ],
)
def test_spelled_otherwise_is_the_same(same: Manifest) -> None:
    assert differing(same) == set()


@pytest.mark.parametrize(
    ("other", "part"),
    [
        (manifest(scorer={"settings": {"max_overlap": 0.5}}), "scorer"),
        (manifest(scorer={"settings": {"resize": "float32"}}), "scorer"),
        (manifest(scorer={"dtype": "bfloat16"}), "scorer"),
        (manifest(digests={"scorer.colors": "d"}), "scorer"),
        (manifest(generator={"settings": {"height": 32, "width": 64}}), "resolution"),
        (manifest(benchmark={"name": "prompt-file", "options": {"path": "p"}}), "benchmark"),
    ],
)
def test_another_value_is_a_difference(other: Manifest, part: str) -> None:
    assert differing(other) == {part}


def test_a_plug_in_that_is_not_here_is_compared_as_recorded() -> None:
    one, two = (manifest(benchmark={"name": "gone", "options": {"a": a}}) for a in (1, 2))
    assert measurement(one, ["p"])["benchmark"] != measurement(two, ["p"])["benchmark"]
    assert measurement(one, ["p"]) == measurement(one, ["p"])


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        (None, None),
        ("64x48 64x64", {(64, 48), (64, 64)}),
        ("64x", None),
        ("x", None),
        (64, None),
    ],
)
def test_the_sizes_of_images_from_elsewhere(sizes: Any, expected: Any) -> None:
    foreign = manifest({"image_sizes": sizes}, generator={"kind": "recorded-images"})
    assert resolution(foreign) == expected


def test_what_is_not_on_record_is_said_and_no_difference(tmp_path: Path, make_run: MakeRun) -> None:
    source = script_output(tmp_path / "source")
    runs: list[LoggedRun] = []
    for name, images in (("with", True), ("without", False)):
        imported(source, tmp_path / name, keep_images=images)
        runs.append(load_run(tmp_path / name))
    assert protocol_differences(*runs) == []
    one, two = check_comparable(runs, force=False)
    assert one.startswith("Scorer of ") and two.startswith("Resolution and scorer of ")
    assert "not on record" in one
    assert resolution(runs[0].manifest) == {(8, 8)}
    assert not common(*runs).same_noise, "nobody knows the noise of images from elsewhere"
    other = replace(runs[0], parts=make_run("stub").parts)
    assert "benchmark" in protocol_differences(runs[0], other)
