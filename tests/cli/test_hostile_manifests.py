"""A manifest that somebody else wrote: whatever is in it, every command ends soon with a sentence.

Each field in turn is dropped or replaced. What the reader refuses reaches no command; so each
command is tried with every field of those changes that pass the reader, digests made right again.
"""

from __future__ import annotations

import copy
import json
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from harness.config import read_config
from harness.errors import HarnessError
from harness.log import shards
from harness.log.manifest import Manifest
from harness.log.schema import TABLES
from harness.seeds import config_digest
from tests.runs import run, stub_plan
from tests.stubs import make_stub_suite
from tests.terminal import READERS, Terminal

DROPPED = object()

NESTED: Any = []
for _ in range(3000):
    NESTED = [NESTED]

VALUES: dict[str, Any] = {
    "dropped": DROPPED,
    "null": None,
    "list": [],
    "list of null": [None],
    "object": {},
    "object of lists": {"a": [1]},
    "huge": 10**18,
    "beyond 64 bits": 10**30,
    "beyond floats": 10**400,
    "negative": -1,
    "zero": 0,
    "fraction": 1.5,
    "NaN": float("nan"),
    "true": True,
    "text": "x",
    "empty text": "",
    "controls": "\x00\x1b[2J\n",
    "half a character": "\ud800",
    "time": "0001-01-01T00:00:00+14:00",
    "long text": "x" * 10**6,
    "nested": "NESTED",
}

Place = tuple[str | int, ...]
Change = tuple[Place, str]


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    """Places of a JSON value: every field, and of lists the first item."""
    if place:
        yield place
    if isinstance(value, dict):
        for name in value:
            yield from places(value[name], (*place, name))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*place, 0))


def changed(fields: dict[str, Any], change: Change) -> str:
    """A manifest's text with one field changed; the digest of its config is made right."""
    place, name = change
    fields = copy.deepcopy(fields)
    holder: Any = fields
    for part in place[:-1]:
        holder = holder[part]
    if VALUES[name] is DROPPED:
        del holder[place[-1]]
    else:
        holder[place[-1]] = VALUES[name]
    config = fields.get("config")
    if place[0] == "config" and isinstance(config, dict) and name not in ("NaN", "nested"):
        fields["config_digest"] = config_digest(config)
        fields["run"] = fields["config_digest"][:16]
    text = json.dumps(fields)
    return text.replace('"NESTED"', "[" * 3000 + "]" * 3000)


def changes(fields: dict[str, Any]) -> list[Change]:
    return [(place, name) for place in places(fields) for name in VALUES]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("honest")
    run(stub_plan(make_stub_suite(root)[0], strategy="reflect"), root / "run")
    return root / "run"


@pytest.fixture(scope="module")
def fields(honest: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((honest / "manifest.json").read_text())
    return result


@pytest.mark.slow
@pytest.mark.parametrize("believed", [True, False])
def test_a_manifest_is_refused_in_a_sentence_or_has_its_types(
    fields: dict[str, Any], tmp_path: Path, believed: bool
) -> None:
    path, refused = tmp_path / "manifest.json", 0
    for change in changes(fields):
        path.write_text(changed(fields, change))
        try:
            manifest = Manifest.read(path, believed=believed)
            read_config(manifest.config)
        except HarnessError as error:
            refused += 1
            assert len(error.message) < 1000 and error.hint, change
            continue
        assert type(manifest.config["budget"]) is int, change
        assert all(isinstance(session, dict) for session in manifest.sessions), change
    assert refused > 500


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("config", "budget"), 10**18),
        (("config", "replicates"), 10**18),
        (("config", "threads"), 10**9),
        (("config", "generator", "batch_size"), 10**9),
        (("prompt_set", "count"), 10**18),
    ],
)
def test_sizes_of_a_manifest_are_bounded_for_an_audit_too(
    fields: dict[str, Any], tmp_path: Path, place: Place, value: int
) -> None:
    forged = copy.deepcopy(fields)
    holder: Any = forged
    for part in place[:-1]:
        holder = holder[part]
    holder[place[-1]] = value
    (tmp_path / "manifest.json").write_text(json.dumps(forged))
    with pytest.raises(HarnessError, match=rf"{place[-1]}: .*less than or equal"):
        Manifest.read(tmp_path / "manifest.json", believed=False)


def commands(forged: Path, honest: Path, out: Path) -> dict[str, list[str | Path]]:
    """Every command that reads a run's folder."""
    return {
        "show": ["show", forged],
        "report": ["report", forged, "--out", out],
        "compare": ["compare", forged, honest],
        "export": ["export", forged, "--out", out],
        "resume": ["resume", forged, "--executor", "inline"],
        "repair": ["repair", forged],
        "audit": ["audit", forged, "--regenerate", "2", "--rescore", "2", "--device", "cpu"],
        "audit against": [
            "audit", honest, "--regenerate", "0", "--rescore", "0", "--against", forged,
        ],
        "bundle": ["bundle", forged, "--out", out.with_suffix(".zip")],
        "ls": ["ls", "runs", "--root", forged.parent],
        "simulate": ["simulate", "--from", forged, "--prompts", "2", "--replicates", "1"],
        "reuse": ["resume", honest, "--reuse", forged, "--executor", "inline"],
    }  # fmt: skip


@contextmanager
def limited(seconds: float, what: object) -> Iterator[None]:
    def late(*arguments: object) -> None:
        pytest.fail(f"{what} did not end within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def passing(
    fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[Place, list[Change]]:
    """The changes that the reader lets pass, by place."""
    path = tmp_path_factory.mktemp("passing") / "manifest.json"
    by_place: dict[Place, list[Change]] = {}
    for change in changes(fields):
        path.write_text(changed(fields, change))
        with suppress(HarnessError):
            Manifest.read(path)
            by_place.setdefault(change[0], []).append(change)
    return by_place


def restamp(run: Path) -> None:
    """Let the rows name the run that the manifest says it is, as whoever forges would."""
    manifest = run / "manifest.json"
    with suppress(HarnessError):
        own = Manifest.read(manifest, believed=False).run
        for table in TABLES:
            for shard in shards.discover(run / "log", table):
                rows = shards.read(shard, table)
                stamp = pa.array([own] * len(rows), pa.string())
                rows = rows.set_column(rows.column_names.index("run"), "run", stamp)
                shard.path.unlink()
                new = shards.write(run / "log", table, *shard.range, rows)
                manifest.write_text(manifest.read_text().replace(shard.path.name, new.path.name))


def attempt(
    harness: Terminal,
    honest: Path,
    root: Path,
    name: str,
    make: Callable[[Path], None],
    what: object,
) -> None:
    """Give one command a copy of a run that `make` has changed."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(honest, root / "forged")
    if name in ("compare", "audit against", "reuse"):
        shutil.copytree(honest, root / "honest")
    if name == "reuse":  # an honest run that has something left to do
        path = root / "honest" / "manifest.json"
        text = json.loads(path.read_text()) | {"state": "running", "files": [], "totals": {}}
        path.write_text(json.dumps(text))
    make(root / "forged")
    restamp(root / "forged")
    given = commands(root / "forged", root / "honest", root / "out")[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with limited(60, (name, what)):
        code = harness(*given, plugins=given[0] in READERS)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert code in (0, 1, 2), (name, what, code)
    assert "No such option" not in harness.err
    assert code == 0 or harness.err or "FAILED" in harness.out or "fails" in harness.out, what
    assert harness.err.count("error:") <= 1 and len(harness.err) < 10_000, (name, what)
    assert after - before < 2**20, (name, what, "a gigabyte and more")


@pytest.mark.slow
@pytest.mark.parametrize("name", commands(Path(), Path(), Path("x")))
def test_no_command_breaks_on_what_passes_the_reader(
    harness: Terminal,
    honest: Path,
    fields: dict[str, Any],
    passing: dict[Place, list[Change]],
    tmp_path: Path,
    name: str,
) -> None:
    assert sum(map(len, passing.values())) > 100
    # All of it would take half an hour: each command gets a sixth of the fields, and of each
    # another value than the commands beside it.
    turn = list(commands(Path(), Path(), Path("x"))).index(name)
    some = [each[turn % len(each)] for each in list(passing.values())[turn % 6 :: 6]]
    if name in ("report", "compare"):  # which take seconds
        some = some[::4]
    end = time.monotonic() + 600
    for change in some:
        text = changed(fields, change)
        if name == "resume":
            text = text.replace('"state": "finished"', '"state": "running"')
        attempt(
            harness,
            honest,
            tmp_path / "try",
            name,
            lambda run, text=text: (run / "manifest.json").write_text(text) and None,  # type: ignore[misc]
            change,
        )
        assert time.monotonic() < end


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", commands(Path(), Path(), Path("x")))
def test_every_command_refuses_what_is_no_manifest(
    harness: Terminal, honest: Path, tmp_path: Path, name: str
) -> None:
    for text in ("", "[]", "[" * 10_000, '{"schema_version": 1}', '{"schema_version": 1e400}'):

        def make(run: Path, text: str = text) -> None:
            (run / "manifest.json").write_text(text)

        attempt(harness, honest, tmp_path / "try", name, make, text[:20])
