"""All draws of a run whose images were kept, as a data set for other people's tools.

`hf-dataset` is a folder that `datasets.load_dataset(FOLDER)` of Hugging Face opens: images and
`metadata.parquet` under `train/` (the form they call ImageFolder), and a card. `fiftyone` is their
`COCODetectionDataset`, the simplest layout that their documentation fixes: images under `data/`,
what the scorer detected in `labels.json`, and a note on how to load it.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import Environment, PackageLoader, StrictUndefined

from harness.errors import HarnessError
from harness.interop.draws import draws_table
from harness.interop.export import (
    Export,
    Observe,
    check_free,
    nothing_to_export,
    read_image,
    with_images,
)
from harness.log.files import new_folder
from harness.log.images import decode
from harness.log.location import Location
from harness.models import bundled, leakage
from harness.runs.summary import Summary, finite, summarise
from harness.runs.wording import with_interval

_KEYS = ("prompt_id", "replicate", "draw_index")

_LABELS = ("prompt", "tag", "draw_id", "selected", "accepted", "judge_sentence", "correct", "value")
"""Columns that go with an image into COCO's list of images."""


@dataclass(frozen=True)
class _Image:
    """One image: its row in the table, its file, and its size in pixels."""

    row: int
    file: str
    height: int
    width: int


def export_dataset(
    run: Path, out: Path, layout: str, *, observe: Observe = lambda done, total: None
) -> Export:
    """Write all draws whose images were kept to a folder that is new or empty.

    The layout is "hf-dataset" or "fiftyone"; `observe` is called with how many draws are done, of
    how many.

    Raises:
        UsageError: There is no such run, it kept no images, or `out` holds something.
        HarnessError: The log is damaged, no image is there, or a file cannot be written.
    """
    folder, manifest = with_images(run)
    check_free(out)
    table = draws_table(run)
    keeps_all = manifest.config["keep_images"] == "all"
    missing: list[str] = []
    with new_folder(out) as place:
        files = place / ("train" if layout == "hf-dataset" else "data")
        files.mkdir()
        written = list(_write_images(table, folder.images, files, keeps_all, missing, observe))
        if not written:
            raise nothing_to_export(run, missing)
        write: Callable[[pa.Table, Sequence[_Image], Path, Summary], None]
        write = _write_imagefolder if layout == "hf-dataset" else _write_coco
        write(table, written, place, summarise(run))
    prompts = {table["prompt_id"][image.row].as_py() for image in written}
    return Export(len(prompts), len(written), tuple(missing))


def _write_images(
    table: pa.Table,
    folder: Location,
    files: Path,
    keeps_all: bool,
    missing: list[str],
    observe: Observe,
) -> Iterator[_Image]:
    """Write the images that are there; name those that should be."""
    places: dict[str, int] = {}
    columns = [table[name].to_pylist() for name in (*_KEYS, "image", "selected")]
    for row, (prompt, replicate, draw, digest, selected) in enumerate(zip(*columns, strict=True)):
        observe(row + 1, table.num_rows)
        place = places.setdefault(prompt, len(places))
        if digest is None:  # a draw that failed
            continue
        try:
            png = read_image(folder, digest)
        except HarnessError as error:
            if keeps_all or selected:
                missing.append(
                    f"prompt {prompt}, replicate {replicate}, draw {draw}: {error.message}"
                )
            continue
        # Ids may be anything; places are names anywhere.
        name = f"{place:05d}-{replicate:04d}-{draw:05d}.png"
        (files / name).write_bytes(png)
        yield _Image(row, name, *decode(png).shape[:2])


def _write_imagefolder(
    table: pa.Table, written: Sequence[_Image], out: Path, summary: Summary
) -> None:
    rows = table.take([image.row for image in written])
    names = pa.array([image.file for image in written])
    pq.write_table(
        rows.add_column(0, "file_name", names).drop_columns(["image"]),
        out / "train" / "metadata.parquet",
    )
    (out / "README.md").write_text(_card(table, written, summary), encoding="utf-8")


def _card(table: pa.Table, written: Sequence[_Image], summary: Summary) -> str:
    config = summary.manifest.config
    sentences = [text for text in (bundled.label(config), leakage.warning(config)) if text]
    if config["oracle"]:
        sentences.append("ORACLE run: the judge is the scorer, so the score is an upper bound.")
    facts: Mapping[str, object] = {
        "strategy": f"{config['strategy']['name']}, budget {config['budget']}",
        "benchmark": config["benchmark"]["name"],
        "models": config["suite"],
        "seed": config["seed"],
        "run": summary.manifest.run,
        "searches": f"{summary.searches} of {summary.searches_total} ended",
        "images": f"{len(written)} of {table.num_rows} draws; the others failed or were not kept",
        **{
            name: with_interval(of.value, of.low, of.high)
            for name, of in (("micro", summary.micro), ("macro", summary.macro))
            if of is not None
        },
        "command": summary.manifest.command,
    }
    title = f"{config['strategy']['name']} on {config['benchmark']['name']}"
    return _readme("hf-dataset", title=title, sentences=sentences, facts=facts)


def _readme(layout: str, **values: object) -> str:
    """Fill in the template of a layout's README."""
    loader = PackageLoader("harness.interop")
    environment = Environment(loader=loader, undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters |= {"plain": _plain, "tojson": json.dumps}
    return environment.get_template(f"{layout}.md").render(values)


def _plain(value: object) -> str:
    """Return a text that is nothing but text, in Markdown, in a table's cell and in HTML."""
    text = html.escape("".join(c if c.isprintable() else " " for c in str(value)))
    return "".join(f"\\{c}" if c in "\\`*_{}[]()#+!|~" else c for c in text)


def _write_coco(table: pa.Table, written: Sequence[_Image], out: Path, summary: Summary) -> None:
    rows = table.select([*_KEYS, *_LABELS, "detections"]).take([image.row for image in written])
    categories: dict[str, int] = {}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (image, row) in enumerate(zip(written, rows.to_pylist(), strict=True), start=1):
        detections = row.pop("detections") or ()
        size = {"file_name": image.file, "height": image.height, "width": image.width}
        images.append({"id": number, **size, **finite(row)})
        for each in detections:
            left, top, right, bottom = each["box"]
            width, height = right - left, bottom - top
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": categories.setdefault(each["label"], len(categories) + 1),
                    "bbox": [left, top, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "score": each["score"],
                    **({"color": each["color"]} if each["color"] else {}),
                }
            )
    label = bundled.label(summary.manifest.config)
    labels = {
        "info": {"description": label, "run": summary.manifest.run},
        "licenses": [],
        "categories": [{"id": id, "name": name} for name, id in categories.items()],
        "images": images,
        "annotations": annotations,
    }
    (out / "labels.json").write_text(json.dumps(labels, allow_nan=False), encoding="utf-8")
    (out / "README.md").write_text(_readme("fiftyone", label=label), encoding="utf-8")
