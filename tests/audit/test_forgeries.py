"""Forgeries of a good run: each must be caught, and by the check whose business it is."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from harness.audit.audit import audit
from harness.audit.audited_run import AuditedRun, Options
from harness.audit.result import Status
from harness.log import images
from harness.log.run_folder import RunFolder
from harness.seeds import pixel_digest
from tests.audit.forging import Forger, Rows
from tests.stubs import StubBenchmark

LATER = "2999-01-01T00:00:00+00:00"

EVERYTHING = Options(regenerate=1000, rescore=1000, plugins=True)


def outcomes(path: Path) -> dict[str, Status]:
    results = audit(AuditedRun(RunFolder(path), EVERYTHING))
    return {result.check: result.outcome for result in results}


def test_an_honest_run_passes(honest: Path) -> None:
    result = outcomes(honest)
    assert result.pop("against") is Status.NOT_APPLICABLE
    assert result.pop("provenance") is Status.CLAIMED
    for unknown in (
        "published",
        "flops",
        "verdicts",
        "origins",
        "report",
        "measured",
    ):  # there is no such thing here
        assert result.pop(unknown) is Status.NOT_APPLICABLE
    assert set(result.values()) == {Status.PASS}


def rows(change: Callable[[Rows], Any], *, table: str = "candidates", sums: bool = True) -> Any:
    def forge(forger: Forger) -> None:
        forger.rewrite(table, lambda log: change(log), sums=sums)

    return forge


def edit(**values: Any) -> Any:
    """Rewrites columns of the first draw; a function gets the old value."""

    def change(table: Rows) -> None:
        for name, value in values.items():
            table[0][name] = value(table[0][name]) if callable(value) else value

    return rows(change)


def manifest(change: Callable[[dict[str, Any]], Any]) -> Any:
    return lambda forger: forger.manifest(change)


def config(**values: Any) -> Any:
    return lambda forger: forger.config(lambda fields: fields.update(values))


def _flip(forger: Forger) -> None:
    def change(table: Rows) -> None:
        row = next(row for row in table if not row["correct"])
        row.update(correct=True, reason="")

    forger.rewrite("candidates", change)


def _drop(table: Rows) -> Rows:
    return table[1:]


def _drop_search(forger: Forger) -> None:
    """A failure that is made to vanish with all its draws, the totals set right."""
    gone = forger.read("searches")[0]["prompt_id"]
    for table in ("candidates", "searches"):
        forger.rewrite(table, lambda log: [r for r in log if r["prompt_id"] != gone])


def _feedback(table: Rows) -> None:
    row = next(row for row in table if row["feedback"])
    row["feedback"][0]["sentence"] = "all is well"


def _beyond(forger: Forger) -> None:
    longest = max(forger.read("searches"), key=lambda row: row["draws"])

    def change(table: Rows) -> Rows:
        last = [row for row in table if row["prompt_id"] == longest["prompt_id"]][-1]
        return [*table, {**last, "draw_index": 4, "draw_id": "f" * 32}]

    forger.rewrite("candidates", change)


def _select(table: Rows) -> None:
    row = next(row for row in table if row["draws"] > 1)
    row["selected_index"] = 0


def _select_whole(forger: Forger) -> None:
    ids = {(r["prompt_id"], r["draw_index"]): r["draw_id"] for r in forger.read("candidates")}

    def change(table: Rows) -> None:
        row = next(row for row in table if row["draws"] > 1)
        row.update(selected_index=0, selected_id=ids[row["prompt_id"], 0])

    forger.rewrite("searches", change)


def _stop_early(forger: Forger) -> None:
    """The last draw of a search is cut off, and the search made to end before it."""
    candidates = forger.read("candidates")
    search = max(forger.read("searches"), key=lambda row: row["draws"])
    last = search["draws"] - 1
    ids = {(r["prompt_id"], r["draw_index"]): r["draw_id"] for r in candidates}
    prompt = search["prompt_id"]

    def shorten(table: Rows) -> None:
        row = next(row for row in table if row["prompt_id"] == prompt)
        row.update(draws=last, rounds=last, selected_index=last - 1)
        row["selected_id"] = ids[prompt, last - 1]

    forger.rewrite("searches", shorten)
    forger.rewrite(
        "candidates",
        lambda table: [r for r in table if (r["prompt_id"], r["draw_index"]) != (prompt, last)],
    )


def _swap_image(forger: Forger) -> None:
    first, second = sorted(forger.folder.images.glob("*/*"))[:2]
    first.write_bytes(second.read_bytes())


def _replace_image(forger: Forger) -> None:
    """A better picture, under its own digest, in the folder and in the log."""
    picture = np.full((8, 8, 3), 77, np.uint8)
    digest = pixel_digest(picture)

    def change(table: Rows) -> None:
        images.image_path(forger.folder.images, table[0]["image"]).unlink()
        path = images.image_path(forger.folder.images, digest)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(images.encode(picture))
        table[0]["image"] = digest

    forger.rewrite("candidates", change)


def _better_picture(forger: Forger, row: dict[str, Any]) -> None:
    """Another picture under a draw's digest."""
    picture = np.full((8, 8, 3), 77, np.uint8)
    path = images.image_path(forger.folder.images, row["image"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(images.encode(picture))


def _none_kept(forger: Forger) -> None:
    """Another picture, of a run that says it has none."""
    for path in forger.folder.images.glob("*/*"):
        path.unlink()
    forger.config(lambda fields: fields.update(keep_images="none"))
    _better_picture(forger, forger.read("candidates")[0])


def _beside_the_selected(forger: Forger) -> None:
    """Only selected images are kept, and one of a draw that was not selected is there."""
    selected = {row["selected_id"] for row in forger.read("searches")}
    others = [row for row in forger.read("candidates") if row["draw_id"] not in selected]
    for row in others:
        images.image_path(forger.folder.images, row["image"]).unlink(missing_ok=True)
    forger.config(lambda fields: fields.update(keep_images="selected"))
    _better_picture(forger, others[0])


def _under_another_name(name: str) -> Callable[[Forger], None]:
    def forge(forger: Forger) -> None:
        path = forger.folder.images / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(images.encode(np.full((8, 8, 3), 77, np.uint8)))

    return forge


def _linked(forger: Forger) -> None:
    """The right pixels, from outside of the run."""
    path = min(forger.folder.images.glob("*/*"))
    path.rename(forger.folder.path.parent / "elsewhere.png")
    path.symlink_to(forger.folder.path.parent / "elsewhere.png")


def _reencode(forger: Forger) -> None:
    path = min(forger.folder.images.glob("*/*"))
    buffer = io.BytesIO()
    Pillow.open(path).save(buffer, format="JPEG", quality=95)
    path.write_bytes(buffer.getvalue())


def _lose_image(forger: Forger) -> None:
    min(forger.folder.images.glob("*/*")).unlink()


def _flip_bit(forger: Forger) -> None:
    path = min(forger.folder.log.glob("candidates-*"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _surplus_file(forger: Forger) -> None:
    (forger.folder.log / "candidates-notes.txt").write_text("x")


def _oracle(forger: Forger) -> None:
    def change(table: Rows) -> None:
        for row in table:
            row.update(accepted=row["correct"], judge_score=float(row["correct"]))
            row["judge_sentence"] = row["reason"]

    forger.rewrite("candidates", change)


def _same_checkpoint(forger: Forger) -> None:
    def change(fields: dict[str, Any]) -> None:
        fields["digests"]["judge.faults"] = fields["digests"]["scorer.faults"]

    forger.config(change)


def _same_detector(forger: Forger) -> None:
    """The scorer's checkpoint again, and a part of its own that decides nothing."""

    def change(fields: dict[str, Any]) -> None:
        fields["judge"].update(kind="detector", checkpoints={"detector": "here", "colors": "there"})
        seen = {"judge.detector": fields["digests"]["scorer.faults"], "judge.colors": "0" * 64}
        fields["digests"].update(seen)

    forger.config(change)


def _recorded_judge(forger: Forger) -> None:
    def change(fields: dict[str, Any]) -> None:
        fields["judge"].update(kind="recorded-judge", checkpoints=fields["scorer"]["checkpoints"])

    forger.config(change)


def _oracle_kind(forger: Forger) -> None:
    forger.config(lambda fields: fields["judge"].update(kind="oracle"))


def _checkpoint(forger: Forger) -> None:
    forger.config(lambda fields: fields["digests"].update({"scorer.faults": "0" * 64}))


def _inflated(forger: Forger) -> None:
    """A draw that took 83 days, in a session of seconds; batch and totals set right."""

    def change(rows: Rows) -> None:
        for row in rows:
            if row["generator_batch"] == rows[0]["generator_batch"]:
                row["generator_device_seconds"] = 7.2e6

    forger.rewrite("candidates", change)


def _instant(forger: Forger) -> None:
    """Work without time: the whole run in a nanosecond of the device."""

    def change(rows: Rows) -> None:
        for row in rows:
            row.update(generator_device_seconds=1e-12)
            row.update({f"{role}_device_seconds": 1e-12 for role in ("judge", "scorer")})

    forger.rewrite("candidates", change)


def _session(**values: Any) -> Any:
    """Rewrites fields of the first session; a function gets the whole session."""

    def change(fields: dict[str, Any]) -> None:
        first = fields["sessions"][0]
        first.update({k: v(first) if callable(v) else v for k, v in values.items()})

    return manifest(change)


def _moved(text: str, seconds: float) -> str:
    time = datetime.fromisoformat(text) + timedelta(seconds=seconds)
    return time.isoformat(timespec="seconds")


def _overlapping(fields: dict[str, Any]) -> None:
    """A second session within the first, whose time would be paid twice."""
    first = fields["sessions"][0]
    first.update(started=_moved(first["started"], -100), ended=_moved(first["started"], 100))
    fields["created"] = first["started"]
    fields["sessions"].append({**first, "started": _moved(first["ended"], -50)})
    fields["sessions"][1]["ended"] = first["ended"]


def _swapped(fields: dict[str, Any]) -> None:
    """Beginning and end of a session exchanged."""
    first = fields["sessions"][0]
    first.update(started=_moved(first["ended"], 5), ended=first["started"])


def _reused(run: str) -> Any:
    """Draws said to be another run's: their price need not fit into this one's sessions."""

    def change(rows: Rows) -> None:
        for row in rows:
            row.update({f"{role}_worker": f"reused from {run}" for role in
                        ("generator", "judge", "scorer") if row[f"{role}_worker"]})  # fmt: skip
            row["generator_device_seconds"] = 7.2e6

    return rows(change)


def _splice(forger: Forger) -> None:
    """Searches of a run with another seed: their seeds and ids are those of that run."""
    forger.rewrite(
        "candidates",
        lambda table: [
            {**row, "run": "0" * 16} if row["prompt_id"] == "00003" else row for row in table
        ],
    )


def _easier_prompts(forger: Forger) -> None:
    def change(table: Rows) -> None:
        for row in table:
            row["prompt"] = row["prompt"].replace("thing 3", "thing")

    forger.rewrite("candidates", change)


def _fewer_prompts(forger: Forger) -> None:
    forger.manifest(lambda fields: fields["prompt_set"].update(count=9))


def _right_prompts_only(forger: Forger) -> None:
    """What came out wrong was never asked for: not in the log, not among the images."""
    right = {row["selected_id"] for row in forger.read("searches")} & {
        row["draw_id"] for row in forger.read("candidates") if row["correct"]
    }
    remaining = {r["prompt_id"] for r in forger.read("searches") if r["selected_id"] in right}
    for table in ("candidates", "searches"):
        forger.rewrite(table, lambda log: [r for r in log if r["prompt_id"] in remaining])
    named = {row["image"] for row in forger.read("candidates")}
    for path in forger.folder.images.glob("*/*"):
        if path.stem not in named:
            path.unlink()
    forger.bring_prompts([p for p in StubBenchmark().prompts() if p.id in remaining])


def _answer_keys(forger: Forger) -> None:
    """The same prompts, and other answers to them."""
    prompts = StubBenchmark().prompts()
    forger.bring_prompts([replace(p, metadata={"include": []}) for p in prompts])


FORGERIES: dict[str, tuple[str, Callable[[Forger], Any]]] = {
    "a bit flipped": ("files", _flip_bit),
    "a surplus file": ("files", _surplus_file),
    "a file taken off the list": ("files", manifest(lambda f: f["files"].pop())),
    "a score flipped": ("rescoring", _flip),
    "correct, with the reason left": ("rows", edit(correct=True, reason="a cat is missing")),
    "a score removed": ("rows", edit(correct=None)),
    "a judge's score of infinity": ("rows", edit(judge_score=float("inf"))),
    "an error without a role": ("rows", edit(error="nothing")),
    "rows reordered": ("rows", rows(lambda table: table[::-1])),
    "a judge's score raised": ("rescoring", edit(judge_score=lambda old: old / 2)),
    "a judge's sentence edited": ("rescoring", edit(judge_sentence="fine")),
    "a detection edited": ("rescoring", edit(detections=[])),
    "a row deleted": ("completeness", rows(_drop)),
    "a row doubled": ("identities", rows(lambda table: [table[0], *table])),
    "a search and its draws deleted": ("completeness", _drop_search),
    "a search's row doubled": ("completeness", rows(lambda f: [f[0], *f], table="searches")),
    "a feedback sentence edited": ("identities", rows(_feedback)),
    "a seed changed": ("identities", edit(seed=lambda old: old + 1)),
    "an id changed": ("identities", edit(draw_id="0" * 32)),
    "a prompt rewritten": ("identities", edit(text="an easy thing")),
    "the run's seed edited": ("identities", config(seed=1)),
    "a draw beyond the budget": ("budget", _beyond),
    "a search cut short": ("budget", _stop_early),
    "a selection moved": ("identities", rows(_select, table="searches")),
    "a selection moved, with its id": ("decisions", _select_whole),
    "the strategy's option edited": (
        "decisions",
        config(strategy={"name": "reflect", "options": {"context": 1, "select": "best"}}),
    ),
    "rounds edited": ("decisions", rows(lambda f: f[0].update(rounds=9), table="searches")),
    "a cost zeroed": ("costs", edit(generator_device_seconds=0.0)),
    "NFE zeroed": ("costs", edit(generator_nfe=0)),
    "NFE halved": ("regeneration", edit(generator_nfe=2)),
    "a negative cost": ("costs", edit(judge_flops=-1.0)),
    "a total edited": ("costs", manifest(lambda f: f["totals"].update(generator_flops=1.0))),
    "draws counted down": ("completeness", manifest(lambda f: f["totals"].update(draws=1))),
    "images swapped": ("images", _swap_image),
    "an image re-encoded": ("images", _reencode),
    "an image lost": ("images", _lose_image),
    "an image replaced, log and all": ("regeneration", _replace_image),
    "an image where none is kept": ("images", _none_kept),
    "an image beside the selected ones": ("images", _beside_the_selected),
    "an image of no draw": ("images", _under_another_name("0a/0a" + "b" * 30 + ".png")),
    "an image of another name": ("images", _under_another_name("notes.png")),
    "a hidden image": ("images", _under_another_name("0a/.tmp-1.png")),
    "a link for an image": ("images", _linked),
    "the config edited": ("manifest", manifest(lambda f: f["config"].update(budget=20))),
    "the config's digest edited": ("manifest", manifest(lambda f: f.update(config_digest="0"))),
    "a config that is none": ("manifest", manifest(lambda f: f["config"].pop("budget"))),
    "two runs spliced": ("manifest", _splice),
    "an easier prompt in the log": ("completeness", _easier_prompts),
    "a smaller prompt set": ("completeness", _fewer_prompts),
    "only the prompts that came out right": ("completeness", _right_prompts_only),
    "answer keys of the run's own": ("completeness", _answer_keys),
    "an oracle passed off as a judge": ("leakage", _oracle),
    "the oracle under its name": ("leakage", _oracle_kind),
    "a judge said to be on record only": ("leakage", _recorded_judge),
    "the scorer's checkpoint for the judge": ("leakage", _same_checkpoint),
    "the scorer's detector for the judge": ("leakage", _same_detector),
    "another checkpoint's digest": ("environment", _checkpoint),
    "rows older than the run": ("environment", manifest(lambda f: f.update(created=LATER))),
    "nobody's work": ("environment", manifest(lambda f: f.update(sessions=[]))),
    "device-seconds beyond the session": ("sessions", _inflated),
    "FLOPs beyond any device": ("sessions", _instant),
    "a session that ends before it begins": ("sessions", manifest(_swapped)),
    "a session that ended long ago": ("sessions", _session(ended="2001-01-01T00:00:00+00:00")),
    "a session from before the run": (
        "sessions", _session(started=lambda s: _moved(s["started"], -3600))
    ),
    "a session that has not been yet": ("sessions", _session(ended=LATER)),
    "sessions at no time": ("sessions", _session(started="noon")),
    "a session without a beginning": ("sessions", _session(started=None)),
    "sessions at the same time": ("sessions", manifest(_overlapping)),
    "a session without workers": ("sessions", _session(workers={})),
    "a worker that nobody had": ("sessions", edit(generator_worker="generator-7")),
    "the worker taken off the session": (
        "sessions", _session(workers={"other": {"device": "cpu", "device_name": "x"}})
    ),
    "rows after the last session": (
        "sessions", edit(time=lambda old: old.replace(year=old.year + 1) - timedelta(days=364))
    ),
    "draws of a run that no session took from": ("origins", _reused("0123456789abcdef")),
    "draws of something that is no run": ("origins", _reused("elsewhere")),
    "an unfinished run": ("completeness", manifest(lambda f: f.update(state="running"))),
}  # fmt: skip


@pytest.mark.sampled(8)
@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_caught_by_its_check(name: str, honest: Path, tmp_path: Path) -> None:
    expected, forge = FORGERIES[name]
    shutil.copytree(honest, tmp_path / "forged")
    forge(Forger(tmp_path / "forged"))
    result = outcomes(tmp_path / "forged")
    assert result[expected] is Status.FAIL, json.dumps(result, indent=1)


def test_a_forger_who_changes_nothing_is_let_through(honest: Path, tmp_path: Path) -> None:
    """So that what is caught above is the forgery, and not the rewriting."""
    shutil.copytree(honest, tmp_path / "copy")
    Forger(tmp_path / "copy").rewrite("candidates", lambda table: None)
    Forger(tmp_path / "copy").config(lambda fields: None)
    assert Status.FAIL not in outcomes(tmp_path / "copy").values()


def test_a_stranger_does_not_choose_what_is_imported(honest: Path) -> None:
    results = audit(AuditedRun(RunFolder(honest), Options(regenerate=5, rescore=5)))
    by_check = {result.check: result for result in results}
    assert by_check["regeneration"].outcome is Status.NOT_APPLICABLE
    assert "--plugins" in by_check["regeneration"].evidence[0]
    assert not any(result.failed for result in results)
