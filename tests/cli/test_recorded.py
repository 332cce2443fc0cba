"""No secret of a known shape is written into a manifest."""

from __future__ import annotations

import sys

import pytest

from harness.cli.recorded import HIDDEN, recorded_command, redacted
from harness.errors import UsageError
from harness.log.location import location


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("http://user:hunter22@host:9000/x", "hunter22"),
        ("s3://b/p?endpoint_override=http://user:hunter22@host", "hunter22"),
        ("hf_abcdefghijklmnop", "abcdefghijklmnop"),
        ("key=sk-abcdefghijklmnop", "abcdefghijklmnop"),
        ("AKIAABCDEFGHIJKLMNOP", "ABCDEFGHIJKLMNOP"),
        ("ghp_abcdefghijklmnop", "abcdefghijklmnop"),
        ("api_key=hunter22", "hunter22"),
        ("--token hunter22", "hunter22"),
        ("password: hunter22", "hunter22"),
        ("Authorization: Bearer-hunter22", "hunter22"),
        ("https://b.s3.amazonaws.com/x?X-Amz-Signature=hunter22&y=1", "hunter22"),
        ("AWS_SECRET_ACCESS_KEY=hunter22", "hunter22"),
    ],
)
def test_secrets_are_hidden(text: str, secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert secret not in redacted(text) and HIDDEN in redacted(text)
    monkeypatch.setattr(sys, "argv", ["harness", "run", text])
    assert secret not in recorded_command()


@pytest.mark.parametrize(
    "text",
    ["--strategy", "best-of-n", "path=p.jsonl", "max_new_tokens=128", "s3://bucket/prefix",
     "jacklishufan/reflect-dit//vlm", "results/tokens", "image_tokens=16", "sk-8"],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize(
    "uri",
    [
        "s3://key:hunter22@bucket/prefix",
        "s3://bucket/prefix?endpoint_override=http://user:hunter22@host:9000",
        "s3://bucket/prefix?endpoint_override=http%3A%2F%2Fuser%3Ahunter22%40host",
    ],
)
def test_a_place_with_credentials_is_refused(uri: str) -> None:
    with pytest.raises(UsageError, match="credentials") as caught:
        location(uri)
    assert "hunter22" not in caught.value.message + caught.value.hint
    assert "AWS_SECRET_ACCESS_KEY" in caught.value.hint
