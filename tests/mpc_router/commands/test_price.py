"""`mpc-router-price` run as a user runs it, its parties played in the clear."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpc_router.commands import price as command
from mpc_router.config.trial import trial_config
from mpc_router.pricing.measured_file import read_measured
from tests.mpc_router.commands.asking import asked, loaded_for_help, refused
from tests.mpc_router.commands.conftest import Answer
from tests.mpc_router.secure.conftest import played as played
from tests.trained import Trained

Ask = Callable[..., Answer]


@pytest.fixture
def ask(capfd: pytest.CaptureFixture[str]) -> Ask:
    return lambda *arguments: asked(command.main, capfd, *map(str, arguments))


def flags(python: Path, out: Path, **more: str) -> list[str]:
    words = {"pool": "sample", "protocol": "semi2k", "tokens": "12", **more}
    pairs = [word for name, value in words.items() for word in (f"--{name}", value)]
    return [*pairs, "--python", str(python), "--out", str(out)]


def test_a_pool_is_priced_part_by_part(ask: Ask, played: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "price.json"
    answer = ask(*flags(played, out))
    assert answer.code == 0, answer.err
    for words in ("stem with router, 12 tokens", "expert 2 (", "argmax over 3"):
        assert words in answer.err
    assert "semi2k_seconds_wan" in answer.out
    vectors = read_measured(out).vectors(trial_config({"pool": "sample", "task": "mrpc"}))
    assert list(vectors) == ["semi2k_seconds_lan", "semi2k_seconds_wan", "semi2k_gb"]
    assert vectors["semi2k_gb"].experts == tuple(sorted(vectors["semi2k_gb"].experts))
    entries = json.loads(out.read_text())["experts"]
    errors = [entry["by_tokens"]["12"]["error"] for entry in entries]
    assert max(errors) < 1e-4  # the part that is played answers as in the clear


def test_a_trained_router_is_priced_as_its_pool_is(
    ask: Ask, router: Trained, played: Path, tmp_path: Path
) -> None:
    out, pool = tmp_path / "router.json", tmp_path / "pool.json"
    words = flags(played, out)[2:]
    assert ask(*words, *router.flags).code == 0
    assert ask(*flags(played, pool)).code == 0
    config = trial_config({"pool": "sample", "task": "mrpc"})
    of_router, of_pool = (read_measured(path).vectors(config) for path in (out, pool))
    assert of_router["semi2k_gb"].experts == of_pool["semi2k_gb"].experts


def test_what_is_too_large_is_extrapolated_from_layers_and_says_so(
    ask: Ask, played: Path, tmp_path: Path
) -> None:
    out = tmp_path / "price.json"
    answer = ask(*flags(played, out, largest="0.05"))
    assert answer.code == 0, answer.err
    assert "a layer of" in answer.err
    document: dict[str, Any] = json.loads(out.read_text())
    hows = [entry["by_tokens"]["12"]["how"] for entry in document["experts"]]
    assert "extrapolated" in hows
    assert "extrapolated from layers" in document["basis"]
    predicted = answer.out.split("  predicted")[1:]
    assert predicted
    assert all(row.split("\n")[0].split()[-3:] == ["-", "-", "extrapolated"] for row in predicted)


def test_the_least_length_has_one_token_of_text(ask: Ask, played: Path, tmp_path: Path) -> None:
    out = tmp_path / "price.json"
    answer = ask(*flags(played, out, tokens="4"))
    assert answer.code == 0, answer.err
    assert list(json.loads(out.read_text())["router"]["by_tokens"]) == ["4"]


def test_a_secret_lookup_is_priced_beside_the_rest(ask: Ask, played: Path, tmp_path: Path) -> None:
    out = tmp_path / "price.json"
    answer = ask(*flags(played, out, embeddings="secret"))
    assert answer.code == 0, answer.err
    entry = json.loads(out.read_text())["experts"][0]
    assert entry["lookup_by_tokens"]["12"]["error"] < 1e-4


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"protocol": "aby3"}, ["'aby3'", "semi2k and cheetah", "of three"]),
        ({"tokens": "0"}, ["--tokens is '0'"]),
        ({"tokens": "16,16"}, ["different whole numbers"]),
        ({"tokens": "4000"}, ["--tokens is 4000", "lengths are 4", "the positions of"]),
        ({"tokens": "12,3"}, ["--tokens is 3", "lengths are 4"]),
        ({"tokens": "12,012"}, ["--tokens is '12,012'", "different whole numbers"]),
        ({"largest": "-1"}, ["--largest is -1", "at least 0"]),
        ({"data": "gone"}, ["--data belongs to a trained router"]),
        ({"gelu": "fast"}, ["--gelu is 'fast'", "exact, polynomial, quad"]),
        ({"softmax": "fast"}, ["--softmax is 'fast'", "exact, quad"]),
        ({"embeddings": "none"}, ["--embeddings is 'none'", "clear, secret"]),
        ({"repeats": "0"}, ["--repeats is 0"]),
        ({"pool": "gone"}, ["gone"]),
        ({"checkpoint": "gone"}, ["both a pool and a router"]),
    ],
)
def test_bad_input_is_one_message_and_nothing_is_written(
    ask: Ask, played: Path, tmp_path: Path, more: dict[str, str], words: list[str]
) -> None:
    out = tmp_path / "new" / "price.json"
    refused(ask(*flags(played, out, **more)), *words)
    assert not out.parent.exists()


def test_no_environment_is_one_message(ask: Ask, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    refused(ask(*flags(gone, tmp_path / "price.json")), str(gone), "make secure", "--python")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_exists_is_left_alone(ask: Ask, played: Path, tmp_path: Path) -> None:
    out = tmp_path / "price.json"
    out.write_text("mine")
    refused(ask(*flags(played, out)), "exists", "another file")
    assert out.read_text() == "mine"


def test_a_pool_a_router_and_a_file_are_asked_for(ask: Ask, played: Path) -> None:
    refused(ask("--protocol", "semi2k"), "--out is missing")
    refused(ask("--out", "new.json", "--protocol", "semi2k"), "neither a pool nor a router")


def test_help_needs_nothing_heavy() -> None:
    assert loaded_for_help("mpc_router.commands.price") == set()
