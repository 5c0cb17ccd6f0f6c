"""What Ray is told by the environment: nothing of another Ray, and no secrets."""

from __future__ import annotations

import pytest

from sweeps.raytune._environment import QUIET, UV, environment

SECRETS = {
    name: "planted"
    for name in (
        *("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"),
        *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY", "WANDB_API_KEY", "apiKey"),
        *("PGPASSWORD", "MYSQL_PWD", "DB_PASS", "GITHUB_PAT", "my_secret", "KEY2", "SENTRY_DSN"),
        *("GOOGLE_APPLICATION_CREDENTIALS", "SSH_AUTH_SOCK", "TOKEN", "MY_PASSPHRASE"),
    )
}
URLS = {"HTTPS_PROXY": "http://me:planted@proxy:80", "INDEX": "https://me:planted@host/simple"}
HARMLESS = {
    name: "kept"
    for name in (
        *("PATH", "PWD", "OLDPWD", "HOME", "TOKENIZERS_PARALLELISM", "HF_HUB_OFFLINE", "KEYBOARD"),
        *("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "GIT_AUTHOR_NAME", "PYTHONPATH", "HF_HOME"),
        *("XAUTHORITY", "MANPATH", "SLURM_JOB_ID", "RAY_memory_usage_threshold"),
    )
} | {"HTTP_PROXY": "http://proxy:80"}


@pytest.mark.parametrize("address", [None, "10.0.0.1:1"])
def test_ray_is_given_no_secret_and_everything_else(address: str | None) -> None:
    found = environment(address, SECRETS | URLS | HARMLESS)
    assert not SECRETS.keys() & found.keys()
    assert not [name for name, value in found.items() if "planted" in value]
    assert HARMLESS.items() <= found.items()


OF_A_JOB = {
    "RAY_ADDRESS": "10.0.0.2:6379",
    "RAY_JOB_CONFIG_JSON_ENV_VAR": '{"runtime_env": {"working_dir": "gcs://x.zip"}}',
    "RAY_OVERRIDE_JOB_RUNTIME_ENV": "1",
    "RAY_RUNTIME_ENV_HOOK": "no.such.module",
    "RAY_NAMESPACE": "theirs",
    "RAY_REDIS_ADDRESS": "10.0.0.2:6380",
    "RAY_AUTH_TOKEN_PATH": "/theirs",
}


def test_an_embedded_ray_obeys_no_job_hook_or_cluster_around_it() -> None:
    found = environment(None, OF_A_JOB | {UV: "1", "RAY_AUTH_TOKEN": "theirs"})
    assert not OF_A_JOB.keys() & found.keys()
    assert found[UV] == "0"
    assert found["RAY_AUTH_MODE"] == "token"
    assert found["RAY_AUTH_TOKEN"] != "theirs"


def test_a_joined_ray_hears_of_the_job_that_it_is_joined_from() -> None:
    found = environment("10.0.0.1:1", OF_A_JOB)
    assert OF_A_JOB.items() <= found.items()


def test_uv_takes_over_no_worker_unless_the_user_of_a_cluster_says_so() -> None:
    assert environment("10.0.0.1:1", {})[UV] == "0"
    assert environment("10.0.0.1:1", {UV: "1"})[UV] == "1"


@pytest.mark.parametrize("address", [None, "10.0.0.1:1"])
def test_tune_hears_nothing_of_other_sweeps(address: str | None) -> None:
    theirs = {"TUNE_RESULT_DIR": "/x", "RAY_AIR_LOCAL_CACHE_DIR": "/x", "RAY_TUNE_CALLBACKS": "x.Y"}
    found = environment(address, theirs | {"TUNE_GLOBAL_CHECKPOINT_S": "1"})
    assert not theirs.keys() & found.keys()
    assert QUIET.items() <= found.items()
