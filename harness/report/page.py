"""The report as one HTML file that asks the network for nothing.

Everything is in it: figures and thumbnails as data URIs, style and script inline. A content
security policy names the digests of exactly that style and script, so that even a hole in the
escaping of prompts and models' words could run or load nothing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.models import leakage, provenance
from harness.models.bundled import is_miniature, suite_name
from harness.report.chains import OUTCOMES, PAIRS, Card
from harness.report.style import themed
from harness.report.tables import Table
from harness.report.thumbnails import BOXES, LETTERS
from harness.runs.logged_run import LoggedRun
from harness.runs.money import Spending
from harness.runs.summary import memory_words

_TEMPLATES = files("harness.report") / "templates"
_PLAIN = " !$()*+,-./:;=?@_{}"
"""Characters that stay as they are in the address of a figure, which is shorter so."""


@dataclass(frozen=True)
class Drawing:
    """A figure of the page, its width and height in CSS pixels.

    Attributes:
        name: Of its files.
        caption: What it shows and how.
        alt: The same for those who do not see it, with the numbers that matter.
    """

    name: str
    caption: str
    alt: str
    svg: str
    width: int
    height: int

    @property
    def uri(self) -> str:
        """The drawing as a data URI."""
        return f"data:image/svg+xml,{quote(themed(self.svg), safe=_PLAIN)}"


def page(
    *, drawings: Sequence[Drawing], tables: Sequence[Table], cards: Sequence[Card], **parts: Any
) -> str:
    """The page as HTML text.

    Args:
        drawings: The figures, in order.
        tables: The tables, in order.
        cards: The gallery; none leaves it away.
        **parts: The page's `title`; `section`, its head with the chart
            (`harness.report.chart.section`); `reasons` of the answer, in sentences; `warnings` that
            must be read first; `runs`: of each its `label` and `facts`, pairs of name and value.
    """
    style = _text("page.css")
    # page.js comes first: it reads choices from the address before anything is drawn.
    script = "\n".join(map(_text, ("page.js", "gallery.js", "plotly-basic.min.js", "chart.js")))
    page_notes = (*parts["section"]["captions"], *parts["warnings"], *parts["reasons"])
    template = environment("harness.report").get_template("page.html")
    body = template.render(
        **parts,
        figures=drawings,
        tables=[grid(table, page_notes) for table in tables],
        cards=cards,
        tags=sorted({card.tag for card in cards}),
        outcomes=OUTCOMES,
        pairs=PAIRS,
        boxes=BOXES,
        style=Markup(style),
        style_hash=_digest(style),
        script_hash=_digest(script),
    )
    # The script goes in last and by itself, for it alone is not text to be escaped.
    return body.replace("</body>", f"<script>{script}</script>\n</body>")


def environment(*packages: str) -> Environment:
    """Return what renders the templates of some packages: everything escaped, nothing undefined."""
    loader = ChoiceLoader([PackageLoader(package) for package in packages])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.globals["letters"] = LETTERS
    return environment


def grid(table: Table, page_notes: Collection[str] = ()) -> dict[str, Any]:
    """Return a table's cells as text, without the notes that the page has in another place."""
    return {
        "title": table.title,
        "columns": list(table.shown.columns),
        "rows": table.cells,
        "notes": [note for note in table.notes if note not in page_notes],
    }


def run_facts(label: str, run: LoggedRun, spent: Spending, notes: Sequence[str]) -> dict[str, Any]:
    """Return the facts of a run that are enough to repeat it."""
    manifest, config = run.manifest, run.manifest.config
    strategy, benchmark = config["strategy"], config["benchmark"]
    git = manifest.environment.get("git") or {}
    options = ", ".join(f"{k}={v}" for k, v in strategy["options"].items())
    shared = f" ({leakage.LABEL})" if leakage.warning(config) else ""
    settings = config["scorer"].get("settings", {})
    scorer = ", ".join(
        [f"{k}: {v}" for k, v in config["scorer"]["checkpoints"].items()]
        + [f"{k}={v}" for k, v in settings.items()]
    )
    facts = [
        ("folder", "; ".join(part.folder.path.name for part in run.parts)),
        ("run", "; ".join(part.manifest.run for part in run.parts)),
        (
            "state",
            "; ".join(f"{p.manifest.state}, created {p.manifest.created}" for p in run.parts),
        ),
        ("strategy", f"{strategy['name']}{f' ({options})' if options else ''}"),
        ("budget", f"{config['budget']} draws a prompt"),
        ("benchmark", f"{benchmark['name']}, {manifest.prompt_set.count} prompts"),
        ("spent", str(spent)),
        ("memory", memory_words([part.manifest for part in run.parts])),
        ("prompt set", manifest.prompt_set.digest[:16]),
        ("images per prompt", run.images_per_prompt),
        ("seeds" if len(run.parts) > 1 else "seed", ", ".join(map(str, run.seeds))),
        ("models", f"{suite_name(config)}{' (miniature)' if is_miniature(config) else ''}"),
        ("sampler", ", ".join(f"{k}={v}" for k, v in config["generator"]["settings"].items())),
        ("judge", f"{config['judge']['kind']}{' (ORACLE)' if config['oracle'] else shared}"),
        ("scorer", scorer),
        *((f"{n} trained on", c.line) for n, c in provenance.cards(run.verifying).items()),
        ("truncated", "; ".join(dict.fromkeys(part.truncated.summary for part in run.parts))),
        ("command", "; ".join(part.manifest.command for part in run.parts)),
        ("commit", f"{git.get('commit', 'unknown')}{' (dirty)' if git.get('dirty') else ''}"),
        *(("note", note) for note in notes),
    ]
    return {"label": label, "facts": facts}


def _text(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _digest(text: str) -> Markup:
    return Markup(f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}")
