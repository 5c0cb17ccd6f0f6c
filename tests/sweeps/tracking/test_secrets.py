from __future__ import annotations

import pytest

from sweeps.tracking._names import tag_of
from sweeps.tracking._secrets import without_secrets

KEY = "local-0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    "text",
    [
        f"401: the key {KEY} is not valid",
        "cannot reach https://user:pa55word@tracking.example.org/api",
        "POST https://example.org/log?write_token=pa55word&x=1",
        "api_key=pa55word was refused",
        "the value s3cr3t! is wrong",
    ],
)
def test_no_secret_is_shown(text: str) -> None:
    shown = without_secrets(text, {"WANDB_API_KEY": KEY, "MY_PASSWORD": "s3cr3t!", "HOME": "/h"})
    assert "***" in shown
    assert not any(secret in shown for secret in (KEY, "pa55word", "s3cr3t!", "0123456789abcdef"))


def test_a_text_without_secrets_stays_as_it_is() -> None:
    text = "ConnectionError: https://example.org/api/runs does not answer; 30 trials in runs/r"
    assert without_secrets(text, {"PATH": "/usr/bin", "A_KEY": "x"}) == text


def test_mlflow_gets_names_that_it_takes_and_no_two_alike() -> None:
    names = ("score", "f1:a<b", "f1:a>b", "f1:a b/c.d-e", f"f1:{'x' * 400}", "f1:rückgabe")
    tags: dict[str, str] = {}
    for name in names:
        tags[name] = tag_of(name, tags.values())
    assert len(set(tags.values())) == len(tags)
    assert tags["f1:a<b"] == "f1:a_b"
    assert tags["f1:a b/c.d-e"] == "f1:a b/c.d-e"
    assert max(map(len, tags.values())) < 250
    assert all(tag.isascii() for tag in tags.values())
