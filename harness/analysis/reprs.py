"""How runs and findings look in a notebook and at a prompt: a line, and a small table in HTML.

A run is a `LoggedRun` and findings are `Findings`, untyped here since both ask this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from harness.analysis.wording import n_of, score
from harness.models import bundled

_LONGEST = 80
"""Characters of a name that a folder may have made up."""


def described(run: Any, name: str) -> Mapping[str, str]:
    """Return what a run is and came to."""
    config = run.manifest.config
    scores = run.scores()
    known = scores[scores == scores]
    miniature = " (MINIATURE models)" if bundled.is_miniature(config) else ""
    return {
        "run": _shown(name),
        "benchmark": _shown(config["benchmark"]["name"]),
        "models": f"{_shown(config['suite'])}{miniature}",
        "seeds": _shown(", ".join(map(str, run.seeds))),
        "prompts": str(len(run.prompts)),
        "searches": n_of(len(run.searches), run.searches_total),
        "micro": score(float(known.mean()) if len(known) else float("nan")),
    }


def run_text(run: Any) -> str:
    """Return a run in one line."""
    of = described(run, _name(run))
    return (
        f"<LoggedRun {of['run']} on {of['benchmark']}, {of['models']}, seeds {of['seeds']}: "
        f"{of['searches']} searches of {of['prompts']} prompts, micro {of['micro']}>"
    )


def run_html(run: Any) -> str:
    """Return a run as a table of one row."""
    return _table([described(run, _name(run))])


def findings_text(findings: Any) -> str:
    """Return findings in one line."""
    runs = zip(findings.runs, findings.names, strict=True)
    listed = [f"{of['run']} {of['micro']}" for of in (described(run, name) for run, name in runs)]
    label = ", MINIATURE models" if any(map(_is_miniature, findings.runs)) else ""
    return f"<Findings of {len(listed)} runs, micro: {', '.join(listed)}{label}>"


def findings_html(findings: Any) -> str:
    """Return findings as a table of the runs, under what must be said first."""
    warnings = "".join(f"<p>{escape(_shown(text, 500))}</p>" for text in findings.warnings)
    runs = zip(findings.runs, findings.names, strict=True)
    return warnings + _table([described(run, name) for run, name in runs])


def _name(run: Any) -> str:
    config = run.manifest.config
    return f"{config['strategy']['name']}-{config['budget']}"


def _is_miniature(run: Any) -> bool:
    return bundled.is_miniature(run.manifest.config)


def _shown(text: str, longest: int = _LONGEST) -> str:
    plain = "".join(c if c.isprintable() else "?" for c in str(text))
    return plain if len(plain) <= longest else f"{plain[:longest]}…"


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row.values())}</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
