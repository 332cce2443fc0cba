"""All draws of a run as one table with their scores, and that table as CSV.

A spreadsheet takes a cell that begins like a formula for one, and prompts, sentences and errors may
be anybody's: such a text gets an apostrophe in front, which a reader takes off again.
"""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from harness.config import read_config
from harness.errors import UsageError
from harness.log.files import atomic_file, make_folder
from harness.log.frame import draws
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.models.metrics.together import metric_names
from harness.runs.summary import finite

CSV = "draws.csv"
"""Name of the table in a folder."""

_FORMULA = tuple("=+-@＝＋－＠")  # noqa: RUF001
"""Characters that a formula begins with, also in the full width that some spreadsheets read."""

_ROWS = 1000
"""Rows that are spelt at a time."""


def draws_table(run: Path) -> pa.Table:
    """Return a row a draw, in prompt, replicate and draw order.

    The columns are the log's, with `value` for logs that knew right and wrong only, a column
    `metric:NAME` for each further metric instead of the map, and `selected`.

    Raises:
        UsageError: There is no such run.
        HarnessError: Its log is damaged.
    """
    folder = RunFolder.existing(run)
    config = read_config(Manifest.read(folder.manifest).config)
    table = draws(folder)
    measured = [dict(values or ()) for values in table["metrics"].to_pylist()]
    table = table.drop_columns(["metrics"])
    for name in metric_names(config.metric):
        values = pa.array([row.get(name) for row in measured], pa.float64())
        table = table.add_column(table.num_columns - 1, f"metric:{name}", values)
    return table


def export_csv(run: Path, out: Path) -> tuple[Path, int]:
    """Write all draws as CSV in UTF-8: null is empty, what is nested is JSON.

    Args:
        run: The run's folder.
        out: The file, by a name that ends with .csv, or the folder for `draws.csv`.

    Returns:
        The file and its rows.

    Raises:
        UsageError: There is no such run, or the file exists.
        HarnessError: The log is damaged, or the file cannot be written.
    """
    path = out if out.suffix.lower() == ".csv" and not out.is_dir() else out / CSV
    if path.exists():
        raise UsageError(f"{path} exists", "choose another --out")
    table = draws_table(run)
    make_folder(path.parent)
    with atomic_file(path, durable=False) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(map(cell, table.column_names))
        for batch in table.to_batches(max_chunksize=_ROWS):
            writer.writerows(map(cell, row.values()) for row in batch.to_pylist())
        text.detach()
    return path, table.num_rows


def cell(value: Any) -> Any:
    """Return a value as it stands in a cell; no text is a formula.

    A text that begins like a formula, or with an apostrophe, gets an apostrophe in front.
    """
    if value is None or (isinstance(value, float) and finite(value) is None):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    text = value if isinstance(value, str) else json.dumps(finite(value), ensure_ascii=False)
    is_risky = text[:1] in ("'", "\t", "\r", "\n") or text.lstrip().startswith(_FORMULA)
    return f"'{text}" if text and is_risky else text
