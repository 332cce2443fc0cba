"""`show --json`: documented keys, what nobody knows is null, and the numbers of `show`."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.audit.forging import Forger
from tests.terminal import ROOT, STUB, Terminal


def test_every_key_is_documented(harness: Terminal, suite: Path) -> None:
    assert harness("run", "--model", suite, *STUB, "--budget", "2", "--out", "r") == 0
    assert harness("show", "r", "--json") == 0
    fields = json.loads(harness.out)
    text = (ROOT / "docs" / "using.md").read_text()
    documented = set(re.findall(r"`([\w.]+)`", text[text.index("`show RUN --json`") :]))
    assert set(fields) <= documented, set(fields) - documented
    for part in ("scores", "searches", "draws", "judge"):
        assert {f"{part}.{key}" for key in fields[part]} <= documented
    assert fields["format"] == 1 and fields["state"] == "finished"
    assert set(fields["cost"]) == {"generator", "judge", "scorer"}


def test_the_numbers_are_those_of_show(harness: Terminal, suite: Path) -> None:
    assert harness("run", "--model", suite, *STUB, "--budget", "2", "--out", "r") == 0
    text = harness.out
    assert harness("show", "r", "--json") == 0
    fields = json.loads(harness.out)
    micro = fields["scores"]["micro"]
    assert f"{micro['value']:.3f}" in text and f"{micro['low']:.3f}–{micro['high']:.3f}" in text
    assert f"searches  {fields['searches']['ended']} of {fields['searches']['total']}" in text
    assert f"draws     {fields['draws']['made']} (" in text


def test_what_nobody_knows_is_null(harness: Terminal, suite: Path) -> None:
    assert harness("run", "--model", suite, *STUB, "--budget", "2", "--out", "r") == 0
    shutil.copytree("r", "bad")
    Forger(Path("bad")).rewrite(
        "candidates",
        lambda rows: [
            {**row, "correct": None, "value": None, "scorer_flops": None, "generator_flops": None}
            for row in rows
        ],
    )
    assert harness("show", "bad", "--json") == 1
    fields = json.loads(harness.out, parse_constant=lambda name: 1 / 0)
    assert fields["scores"]["micro"] is None and fields["cost"]["generator"]["flops"] is None
    assert all(of["score"] is None for of in fields["scores"]["tags"].values())


def test_peak_memory_is_told_by_role_and_never_a_zero(harness: Terminal, suite: Path) -> None:
    assert harness("run", "--model", suite, *STUB, "--budget", "2", "--out", "r") == 0
    assert re.search(
        r"^memory    generator [\d.]+ GiB, .* \(one process for all\)$", harness.out, re.M
    )
    path = Path("r/manifest.json")
    manifest = json.loads(path.read_text())

    def cost(entry: object, code: int = 0) -> dict[str, dict[str, object]]:
        manifest["sessions"][0]["workers"] = {"generator-0": {"memory_bytes": entry},
                                              "generator-1": {}, "scorer-0": {}}  # fmt: skip
        path.write_text(json.dumps(manifest))
        assert harness("show", "r", "--json") == code
        return dict(json.loads(harness.out)["cost"]) if not code else {}

    own = manifest["sessions"][0]["workers"]["inline"]["memory_bytes"]
    assert 2**20 < own < 2**40
    assert cost(7 * 2**30)["generator"]["memory_bytes"] == 7 * 2**30
    assert cost(7 * 2**30)["scorer"]["memory_bytes"] is None
    assert harness("show", "r") == 0 and "memory    generator 7 GiB at most\n" in harness.out
    assert cost(None)["generator"]["memory_bytes"] is None
    assert harness("show", "r") == 0 and "memory    not recorded" in harness.out
    for bad in (0, -1, "7", 7.5):
        assert cost(bad, 1) == {} and "is damaged: sessions.0.workers" in harness.err


def test_scored_images_have_their_own_numbers(harness: Terminal, images: Path) -> None:
    code = harness("score", images, "--out", "s", "--threads", "1")
    text = harness.out
    assert harness("show", "s", "--json") in (0, 1)
    fields = json.loads(harness.out)
    assert fields["images"]["total"] >= fields["images"]["scored"] > 0 and code in (0, 1)
    assert f"{fields['scores']['per_image']['value']:.3f}" in text
    assert f"{fields['scores']['macro']['value']:.3f}" in text


@pytest.mark.slow
def test_prices_are_taken_where_costs_are_shown(harness: Terminal, suite: Path) -> None:
    for strategy in ("best-of-n", "single"):
        command = ["run", *STUB, "--model", suite, "--budget", "2", "--strategy", strategy]
        assert harness(*command, "--out", strategy, "--price", "2") == 0
        assert "at these prices" in harness.out
    assert harness("ls", "runs", ".", "--price", "2") == 0
    assert harness.out.count("at these prices") == 2
    assert harness("show", "single") == 0
    assert re.search(r"^spent     \S+ device-hours$", harness.out, re.MULTILINE)
    priced = ["--price", "3.5"]
    assert harness("show", "single", *priced) == 0 and "at these prices" in harness.out
    for command in (["compare", "best-of-n", "single"], ["report", "single", "--out", "page"]):
        assert harness(*command) == 0 and "at these prices" not in harness.out
        assert harness(*command, *priced) == 0
        lines = re.findall(r"^.*: .* device-hours; at these prices .*$", harness.out, re.MULTILINE)
        assert len(lines) == (2 if command[0] == "compare" else 1)
    assert harness("show", "single", "--json", *priced) == 2 and "no prices" in harness.err
    for amount in ("-1", "nan", "1e10", "much"):
        assert harness("show", "single", "--price", amount) == 2 and "no amount" in harness.err
    what_if = ["what-if", "best-of-n", "--plugins", "--strategy", "single"]
    assert harness(*what_if, *priced) == 0 and "at these prices" in harness.out
    assert (
        harness("what-if", "best-of-n", "--plugins", "--sweep", *priced) == 2
        and "no prices" in harness.err
    )
