"""A run as a pandas frame: one row a draw, with whether its search selected it; and its images."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
from PIL import Image as Pillow

from harness.errors import HarnessError
from harness.log import images, integrity, store
from harness.log.grades import graded
from harness.log.location import Location
from harness.log.manifest import Manifest
from harness.log.measured import measured_later
from harness.log.run_folder import RunFolder
from harness.log.schema import KEYS, keys_of


def load(run: str | Location) -> pd.DataFrame:
    """All candidates of a run, in prompt, replicate and draw order.

    Returns:
        The columns of `harness.log.schema.CANDIDATES` (`value` is filled in for logs that knew
        right and wrong only, `metrics` holds dicts), and `selected` (bool). The manifest's
        config, run id and state are in `frame.attrs`.

    Raises:
        HarnessError: The folder is no run, or its log is damaged.
    """
    folder = RunFolder.existing(run)
    manifest = Manifest.read(folder.manifest)
    frame: pd.DataFrame = draws(folder).to_pandas()
    frame["metrics"] = frame["metrics"].map(dict, na_action="ignore")
    if later := measured_later(folder):
        shown = zip(frame["metrics"], frame["prompt_id"], frame["image"], strict=True)
        values = [
            {**(own if isinstance(own, dict) else {}), **later.get((prompt, image), {})} or None
            for own, prompt, image in shown
        ]
        frame["metrics"] = pd.Series(values, dtype=object)
    frame.attrs = {"run": manifest.run, "config": manifest.config, "state": manifest.state}
    return frame


def draws(folder: RunFolder) -> pa.Table:
    """Return the candidates of `load` as the log has them, with `value` and `selected`."""
    integrity.check(folder)
    order = [(key, "ascending") for key in KEYS["candidates"]]
    table = store.read(folder.log, "candidates").sort_by(order)
    ended = store.read(folder.log, "searches", [*KEYS["searches"], "selected_index"]).to_pylist()
    chosen = {tuple(search.values()) for search in ended}
    table = table.set_column(table.column_names.index("value"), "value", graded(table))
    selected = [key in chosen for key in keys_of(table, "candidates")]
    return table.append_column("selected", pa.array(selected, pa.bool_()))


def image(run: str | Location, draw_id: str) -> Pillow.Image:
    """Return the image of a draw, held to the digest that the log has of it.

    Raises:
        HarnessError: The folder is no run, the run has no such draw, or no image of it.
    """
    folder = RunFolder.existing(run)
    table = store.read(folder.log, "candidates", ["draw_id", "image"])
    digests = [row["image"] for row in table.to_pylist() if row["draw_id"] == draw_id]
    if not digests:
        raise HarnessError(f"{run} has no draw '{draw_id}'", "`harness.load(run)` lists them")
    if digests[0] is None:
        raise HarnessError(f"draw '{draw_id}' failed and has no image", "its row says why")
    return Pillow.fromarray(images.decode(images.read(folder.images, digests[0], check=True)))


def load_searches(run: str | Location) -> pd.DataFrame:
    """All ended searches of a run: what each drew and selected, and why it failed if it did.

    Raises:
        HarnessError: The folder is no run, or its log is damaged.
    """
    folder = RunFolder.existing(run)
    integrity.check(folder)
    searches: pd.DataFrame = store.read(folder.log, "searches").to_pandas()
    return searches.sort_values(["prompt_id", "replicate"], ignore_index=True)
