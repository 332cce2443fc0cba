"""The command line as a manifest records it: repeatable, and without secrets."""

from __future__ import annotations

import re
import shlex
import sys

HIDDEN = "REDACTED"

_SECRETS = re.compile(
    r"(?P<before>"
    r"\w+://(?=[^/\s@]+@)"  # user and password in a URL
    r"|(?i:authorization|bearer|(?:access|api|secret)[-_]?key(?:[-_]?id)?|password|passwd|secret"
    r"|token|signature|x-amz-(?:signature|credential|security-token))(?:\s*[=:]\s*|\s+)"
    r"|(?<![A-Za-z0-9])(?=(?:hf_|sk-|ghp_|gho_|github_pat_|glpat-|AKIA|ASIA|xox[abp]-)[\w-]{8})"
    r")(?P<secret>[^\s&@'\"]+)"
)


def recorded_command() -> str:
    """Return this process's command line, quoted for a shell, secrets of known shapes hidden."""
    return redacted(shlex.join(["python", "-m", "harness", *sys.argv[1:]]))


def redacted(text: str) -> str:
    """Return a text with what looks like a credential replaced."""
    return _SECRETS.sub(lambda match: f"{match['before']}{HIDDEN}", text)
