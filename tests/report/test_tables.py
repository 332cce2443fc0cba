"""Tables survive whatever their cells hold, and the report says what it must."""

from __future__ import annotations

import csv as reader
import io
import re
from pathlib import Path

import pandas as pd
import pytest

from harness.errors import UsageError
from harness.report.build import PUBLISHED_ON_MINIATURE, Options, report
from harness.report.contents import comparison
from harness.report.style import plain
from harness.report.tables import Table, csv, latex, markdown
from harness.report.thumbnails import thumbnail
from tests.report.conftest import HOSTILE

NUMBERS = ("prompts", "score_first", "score_second", "difference", "low", "high", "wins",
           "losses", "p", "p_holm", "detectable")  # fmt: skip


def table(cells: list[str]) -> Table:
    frame = pd.DataFrame({"name": cells, "value": range(len(cells))})
    return Table("t", "A title | with $ & <b>", frame, frame, ["50% of _all_"])


def test_markdown_keeps_its_shape() -> None:
    lines = markdown(table(list(HOSTILE))).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == len(HOSTILE) + 2
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows)
    assert "<" not in "".join(rows)


def test_latex_has_no_active_characters_left() -> None:
    text = latex(table([*HOSTILE, "back\\slash {brace} 100% #1 a_b ^~"]))
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    assert r"\textbackslash{}slash \{brace\} 100\% \#1 a\_b \textasciicircum{}" in body
    assert not re.search(r"(?<!\\)[%#]", body)
    assert body.count(r" \\") == len(HOSTILE) + 1


def test_csv_reads_back_exactly() -> None:
    cells = ["a,b", 'quote "', "line\nbreak", "-1"]
    rows = list(reader.DictReader(io.StringIO(csv(table(cells)))))
    assert [row["name"] for row in rows] == cells


def test_a_name_in_a_figure_is_one_short_line() -> None:
    assert plain("a\x00b\nc") == "a b c" and len(plain("x" * 500)) == 60


@pytest.mark.slow
def test_every_file_is_written_and_says_what_it_must(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    made = report([folders["wide"], folders["chain"]], tmp_path, Options(gallery=("none",)))
    names = {str(path.relative_to(tmp_path)) for path in made.files}
    for figure in ("scaling", "scaling-by-tag", "cost", "oracle-gap"):
        assert {f"figures/{figure}.png", f"figures/{figure}.svg"} <= names
    for name in ("results", "comparison", "matched-cost", "gap", "curves"):
        for suffix in ("csv", "md", "tex"):
            path = tmp_path / f"tables/{name}.{suffix}"
            assert path.stat().st_size > 0
            if suffix != "csv":
                text = path.read_text()
                assert "24 of 24 searches ended" in text and "MINIATURE" in text, path
    results = pd.read_csv(tmp_path / "tables/results.csv")
    assert {"micro", "macro", "tag"} == set(results["kind"])
    assert results["miniature"].all() and (results["images_per_prompt"] == 1).all()
    page = made.page.read_text()
    assert "published" not in page.lower() and made.points.empty
    assert not re.search(r"(src|href)=.https?:", page.partition("<script>")[0])


def test_all_pairs_of_means_come_before_any_tag() -> None:
    kinds = ["micro", "macro", "tag", "micro", "macro", "tag"]
    row = {"tag": "odd", "test": "exact McNemar", **dict.fromkeys(NUMBERS, 0.5)}
    frame = pd.DataFrame({"first": list("aaaaaa"), "second": list("bbbccc"), "kind": kinds, **row})
    table = comparison(frame, [])
    over = ["micro", "macro", "micro", "macro", "odd", "odd"]
    assert table.shown["over"].tolist() == over
    assert table.shown["second"].tolist() == list("bbccbc") and table.full is frame


@pytest.mark.slow
def test_published_points_stand_beside_miniatures_only_if_asked_and_with_a_warning(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    made = report([folders["wide"]], tmp_path, Options(published=True, gallery=("none",)))
    assert PUBLISHED_ON_MINIATURE in made.warnings
    points = made.points
    assert len(points) and (points["reason"] != "").all()
    assert "not comparable" in made.page.read_text()


@pytest.mark.slow
def test_unlike_protocols_are_refused_or_warned_of(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    both = [folders["wide"], folders["hostile"]]
    with pytest.raises(UsageError, match="not measured alike: they differ in benchmark") as caught:
        report(both, tmp_path)
    assert "--force" in caught.value.hint
    with pytest.raises(UsageError, match="no prompt in common"):
        report(both, tmp_path, Options(force=True))
    with pytest.raises(UsageError, match="is a run"):
        report([folders["wide"]], folders["wide"])
    with pytest.raises(UsageError, match="gallery knows no 'wurst'") as caught:
        report([folders["wide"]], tmp_path, Options(gallery=("wurst",)))
    assert "worst" in caught.value.hint


def test_an_image_outside_the_run_is_not_read(tmp_path: Path) -> None:
    images = tmp_path / "images"
    (images / "aa").mkdir(parents=True)
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"not yours")
    (images / "aa" / f"{'a' * 32}.png").symlink_to(secret)
    assert "outside" in thumbnail(images, "a" * 32).missing
    for name in ("../../secret", "b" * 32, "", None, "x/../../secret"):
        assert thumbnail(images, name).missing and not thumbnail(images, name).uri
    (images / "cc").mkdir()
    (images / "cc" / f"{'c' * 32}.png").write_bytes(b"no image at all")
    assert thumbnail(images, "c" * 32).missing == "image cannot be read"
