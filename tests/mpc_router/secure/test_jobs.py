"""Jobs of two parties: played in the clear everywhere, and computed secretly where `spu` is."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mpc_router.model.experts import BertExpert
from mpc_router.secure import programs
from mpc_router.secure._weights import secure_expert
from mpc_router.secure.environment import OtherPython, SecureError, environment, other_python
from mpc_router.secure.jobs import PROTOCOLS, Job, PartyError, Setting, run_job, sent_of
from mpc_router.secure.pool import NUMPY
from mpc_router.secure.programs import encoders
from tests.mpc_router.secure.test_encoders import TOKENS, bert, distilbert, example

ROOT = Path(__file__).resolve().parents[3]
VERSIONS = dict.fromkeys(("jax", "numpy", "spu"), "0")


def encoder_job(family: str = "bert") -> tuple[Job, np.ndarray]:
    """A small encoder with its head, and what it answers in the clear."""
    encoder = {"bert": bert, "distilbert": distilbert}[family](head=True)
    secure = secure_expert(BertExpert(encoder, 2).eval())
    ids, mask, segments = (values[0].numpy() for values in example())
    hidden = encoders.embedded(secure.weights, ids, segments, secure.form, NUMPY)
    held = {
        name: values
        for name, values in secure.weights.items()
        if name.startswith(("layer", "dense"))
    }
    inputs = {"hidden": hidden.astype(np.float32), "mask": mask.astype(np.float32)}
    job = Job(kind="encoder", form=secure.plain_form(), inputs=inputs, weights=held)
    return job, encoders.answered(held, hidden, mask, secure.form, NUMPY)


def test_a_job_gives_the_output_and_what_both_parties_measured_last(played: Path) -> None:
    job, clear = encoder_job()
    usage, output = run_job(job, Setting(python=other_python(played), protocol="semi2k"))
    numbers = sum(values.size for values in job.weights.values())
    assert output == pytest.approx(clear, abs=1e-5)
    assert usage.sent_bytes == (1000 * numbers, 1000 * numbers + 1)
    assert (usage.rounds, usage.worked, usage.elapsed, usage.memory_bytes) == (23, 2, 2, 1001)


def test_a_party_that_dies_ends_the_other_and_says_its_last_words(tmp_path: Path) -> None:
    dying = tmp_path / "python"
    dying.write_text(
        "#!/bin/sh\n"
        f"case $1 in -c) echo '{json.dumps(VERSIONS)}'; exit 0;; esac\n"
        'if [ "$3" = 0 ]; then exec sleep 600; fi\n'
        "echo first; echo the last of it; exit 7\n"
    )
    dying.chmod(0o755)
    setting = Setting(python=other_python(dying), protocol="semi2k")
    with pytest.raises(PartyError, match=r"party 1 .*\(exit code 7\): the last of it"):
        run_job(encoder_job()[0], setting)


def test_a_log_without_bytes_is_an_error() -> None:
    with pytest.raises(PartyError, match="says nothing of bytes"):
        sent_of("nothing of use")


def test_no_python_with_spu_is_one_message_that_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mpc_router.secure.environment._CHECKOUT", tmp_path / "gone")
    with pytest.raises(SecureError, match=r"no Python with spu .*make secure.*--python DIR"):
        other_python()


def test_a_python_of_the_current_folder_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = tmp_path / ".venv-secure" / "bin" / "python"
    strange.parent.mkdir(parents=True)
    strange.write_text("#!/bin/sh\ntouch ran\n")
    strange.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mpc_router.secure.environment._CHECKOUT", tmp_path / "gone")
    with pytest.raises(SecureError, match="no Python with spu"):
        other_python()
    assert not (tmp_path / "ran").exists()


def test_a_module_of_the_current_folder_is_never_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SecureError, match="cannot import"):
        other_python(Path(sys.executable))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "printed", ["[1, 2]", "{}", "no JSON", '{"spu": 1, "jax": "", "numpy": ""}']
)
def test_a_python_that_does_not_say_its_versions_is_refused(tmp_path: Path, printed: str) -> None:
    strange = tmp_path / "python"
    strange.write_text(f"#!/bin/sh\necho '{printed}'\n")
    strange.chmod(0o755)
    with pytest.raises(SecureError, match="it printed"):
        other_python(strange)


def test_the_remedy_installs_the_versions_of_make_secure() -> None:
    pins = (ROOT / "constraints-secure.txt").read_text(encoding="utf-8").split()
    guide = (ROOT / "docs/guides/secure.md").read_text(encoding="utf-8")
    with pytest.raises(SecureError) as refused:
        other_python(Path("gone"))
    for text in (str(refused.value), guide):
        told = re.findall(r"[\w.]+==[\d.]*\d", text)
        assert len(told) >= 4
        assert set(told) <= set(pins)


def test_a_python_that_cannot_import_spu_is_named_with_the_reason() -> None:
    with pytest.raises(SecureError, match=r"cannot import spu, jax and numpy \(ModuleNotFound"):
        other_python(Path(sys.executable))


def test_the_other_python_gets_few_variables_and_no_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = {"PATH": "/bin", "LC_ALL": "C", "OMP_NUM_THREADS": "1"}
    dropped = {"PYTHONPATH": "/ours", "HF_TOKEN": "x", "AWS_SECRET_ACCESS_KEY": "x", "MYPATH": "x"}
    for name, value in {**kept, **dropped}.items():
        monkeypatch.setenv(name, value)
    assert kept.items() <= environment().items()
    assert not dropped.keys() & environment().keys()


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_two_parties_answer_as_in_the_clear(real_python: OtherPython, family: str) -> None:
    job, clear = encoder_job(family)
    usage, output = run_job(job, Setting(python=real_python, protocol="semi2k"))
    assert output == pytest.approx(clear, abs=0.02)
    assert min(usage.sent_bytes) > 10_000
    assert usage.rounds > 50


@pytest.mark.slow
def test_two_parties_find_the_largest_score_and_the_words_that_are_looked_up(
    real_python: OtherPython,
) -> None:
    setting = Setting(python=real_python, protocol="semi2k")
    scores = np.array([0.25, 1.5, -3], np.float32)
    largest = Job(kind="argmax", form=None, inputs={"scores": scores}, weights={})
    assert run_job(largest, setting)[1] == 1
    secure = secure_expert(BertExpert(bert(head=False), 2).eval())
    ids, _, segments = (values[0].numpy() for values in example())
    held = {
        name: values
        for name, values in secure.weights.items()
        if not name.startswith(("layer", "dense"))
    }
    lookup = Job(
        kind="lookup",
        form=secure.plain_form(),
        inputs={
            "words": np.eye(len(held["word"]), dtype=np.float32)[ids],
            "segments": np.eye(2, dtype=np.float32)[segments],
        },
        weights={**held, "position": held["position"][:TOKENS]},
    )
    clear = encoders.embedded(held, ids, segments, secure.form, NUMPY)
    assert run_job(lookup, setting)[1] == pytest.approx(clear, abs=0.01)


@pytest.mark.long
def test_cheetah_answers_as_in_the_clear(real_python: OtherPython) -> None:
    job, clear = encoder_job()
    assert set(PROTOCOLS) == {"semi2k", "cheetah"}
    usage, output = run_job(job, Setting(python=real_python, protocol="cheetah"))
    assert output == pytest.approx(clear, abs=0.02)
    assert min(usage.sent_bytes) > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("gelu", [encoders.POLYNOMIAL, encoders.QUAD])
def test_approximations_answer_secretly_as_they_do_in_the_clear(
    real_python: OtherPython, gelu: str
) -> None:
    job, exact = encoder_job()
    assert job.form is not None
    form = dataclasses.replace(encoders.Form.of(job.form), gelu=gelu, softmax=encoders.QUAD)
    plain = dataclasses.asdict(form)
    clear = encoders.answered(job.weights, job.inputs["hidden"], job.inputs["mask"], form, NUMPY)
    output = run_job(
        dataclasses.replace(job, form=plain), Setting(python=real_python, protocol="semi2k")
    )[1]
    assert output == pytest.approx(clear, abs=0.05)
    assert torch.tensor(clear).isfinite().all()
    assert np.abs(clear - exact).max() > 1e-3


IMPORTED = {"jax", "numpy", "spu", "encoders"}


@pytest.mark.parametrize("name", ["encoders", "party"])
def test_programs_of_the_other_python_import_nothing_of_ours(name: str) -> None:
    tree = ast.parse(Path(programs.__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
    packages: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            packages |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            packages.add(str(node.module).partition(".")[0])
    assert packages <= IMPORTED | sys.stdlib_module_names
    assert name == "party" or "jax" not in packages


def test_a_party_ends_with_the_process_that_started_it(real_python: OtherPython) -> None:
    code = (
        f"import sys, time; sys.path.insert(0, {str(Path(programs.__file__).parent)!r})\n"
        "import party; party.end_with_parent(); print('here', flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [real_python.path, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"here\n"
        process.stdin.close()
        assert process.wait() == 1
