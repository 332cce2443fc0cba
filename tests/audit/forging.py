"""A forger who knows the format: rewrites rows and manifest, and makes all digests right again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from harness.config import read_config
from harness.engine.launch import totals
from harness.log import shards, store
from harness.log.manifest import PromptSet
from harness.log.prompts import write_prompts
from harness.log.run_folder import RunFolder
from harness.log.schema import TABLES
from harness.records import Prompt

Rows = list[dict[str, Any]]


class Forger:
    """Works on a copy of a run."""

    def __init__(self, path: Path) -> None:
        self.folder = RunFolder(path)

    def read(self, table: str) -> Rows:
        rows: Rows = store.read(self.folder.log, table).to_pylist()
        return rows

    def rewrite(
        self, table: str, change: Callable[[Rows], Rows | None], *, sums: bool = True
    ) -> None:
        rows = self.read(table)
        changed = change(rows)
        rows = rows if changed is None else changed
        for path in self.folder.log.glob(f"{table}-*"):
            path.unlink()
        shards.write(self.folder.log, table, 1, 1, pa.Table.from_pylist(rows, TABLES[table]))
        self.consistent(sums=sums)

    def manifest(self, change: Callable[[dict[str, Any]], None]) -> None:
        fields = json.loads(self.folder.manifest.read_text())
        change(fields)
        self.folder.manifest.write_text(json.dumps(fields))

    def bring_prompts(self, prompts: Sequence[Prompt]) -> None:
        """A file as images from elsewhere bring it, and a manifest that agrees with it."""
        write_prompts(self.folder, prompts)
        stated = asdict(PromptSet.of(prompts))
        self.manifest(lambda fields: fields.update(prompt_set=stated))

    def consistent(self, *, sums: bool = True) -> None:
        names = [s.path.name for t in TABLES for s in shards.discover(self.folder.log, t)]

        def fix(fields: dict[str, Any]) -> None:
            fields["files"] = names
            if sums:
                fields["totals"] = totals(
                    self.folder, judged=fields["config"]["judge"]["kind"] != "none"
                )

        self.manifest(fix)

    def config(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Edit the config, and then every name that hangs on it."""

        def fix(fields: dict[str, Any]) -> None:
            change(fields["config"])
            config = read_config(fields["config"])
            fields["run"], fields["config_digest"] = config.run, config.digest

        self.manifest(fix)
        run = json.loads(self.folder.manifest.read_text())["run"]
        for table in TABLES:
            self.rewrite(table, lambda rows: [{**row, "run": run} for row in rows])
