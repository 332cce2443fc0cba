"""Command lines as manifests record them, repeatable and without secrets, and as hints say them."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping
from typing import Any

from harness.log.location import Location
from harness.price import Price

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


def price_words(price: Price) -> list[str]:
    """Return the options that say a price."""
    pairs = (("--price", price.hour), ("--token-price", price.million_tokens))
    return [word for name, of in pairs if of is not None for word in (name, str(of))]


def resume_command(folder: Location, config: Mapping[str, Any]) -> str:
    """Return the command that carries on with a run, with all that it needs."""
    from harness.models.judges.chosen import is_remote
    from harness.models.remote_code import trusting

    named = [config["strategy"]["name"], config["benchmark"]["name"]]
    named += [config[role]["kind"] for role in ("generator", "judge")]
    asks = any(":" in str(name) for name in named) or is_remote(str(named[-1])) or trusting(config)
    flag = " --plugins" if asks else ""
    return f"python -m harness resume {shlex.quote(str(folder))}{flag}"
