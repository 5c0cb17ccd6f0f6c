"""The module writes the batch script of a sweep on Slurm: its text follows from a job alone."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PREFIX: Final = "mpcr-slurm-"
"""It begins the names of the nodes' temporary folders; the job's number follows."""

SESSION_OVER: Final = 75
"""It is the sweep's exit code after which the job is queued again."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Describes the job of a sweep: what each session has, and what it runs."""

    run: Path
    """It is the absolute path of the run's folder, which all nodes see."""

    words: tuple[str, ...]
    """They are the study and its settings."""

    flags: tuple[str, ...] = ()
    """They are flags of `mpc-router-sweep`, given in each session."""

    nodes: int = 1
    cpus: int = 1
    gpus: int = 0
    """They are those of each node."""

    minutes: int = 60
    """They limit one session."""

    options: tuple[str, ...] = ()
    """They are further options of `sbatch`."""

    python: str
    folder: Path
    """It is the absolute path of the folder that the sweep is called in."""

    @property
    def beside(self) -> Path:
        """Gives the folder beside the run's, for script, output and what a session needs."""
        return beside(self.run)

    @property
    def first(self) -> list[str]:
        """Gives the sweep's words in the first session."""
        return [*self.words, "--out", str(self.run.parent), "--name", self.run.name]

    @property
    def again(self) -> list[str]:
        """Gives the sweep's words in the later sessions: of the study, the budget alone."""
        budget = [word for word in self.words if re.match(r"budget\b", word)]
        return ["--resume", str(self.run), *budget]


def beside(run: Path) -> Path:
    """Gives the folder beside a run's, for script, output and what a session needs."""
    return run.with_name(f"{run.name}.slurm")


def batch_script(job: Job) -> str:
    """Writes the script; Slurm runs it on the first node of each session's allocation."""
    head = [
        f"--job-name={job.run.name}",
        f"--nodes={job.nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={job.cpus}",
        *([f"--gpus-per-node={job.gpus}"] if job.gpus else []),
        f"--time={job.minutes}",
        "--signal=B:USR1@20",
        "--requeue",
        "--no-kill",
        "--open-mode=append",
        f"--output={job.beside}/%j.out",
        f"--chdir={job.folder}",
        *job.options,
    ]
    values = {
        "run": str(job.run),
        "beside": str(job.beside),
        "python": job.python,
        "nodes": str(job.nodes),
        "cpus": str(job.cpus),
        "gpus": str(job.gpus),
    }
    lists = {"first": job.first, "again": job.again, "flags": job.flags}
    return "\n".join(
        [
            "#!/bin/bash",
            "# One session of a sweep, written by `mpc-router-cluster slurm`.",
            *(f"#SBATCH {option}" for option in head),
            "",
            *(f"{name}={shlex.quote(value)}" for name, value in values.items()),
            *(f"{name}=({_words(words)})" for name, words in lists.items()),
            _BODY,
        ]
    )


def _words(words: Sequence[str]) -> str:
    """Writes words as the shell reads them."""
    return " ".join(map(shlex.quote, words))


_BODY: Final = rf"""
set -u
umask 077
session=$SLURM_JOB_ID.${{SLURM_RESTART_COUNT:-0}}
logs=$beside/$session
folders={PREFIX}$SLURM_JOB_ID.
port=$((10000 + SLURM_JOB_ID % 10000 * 2)) # and the port after it: one pair a job
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$beside/$session.token
steps=() ended='' sweep='' caught=''

# USR1 comes from Slurm before the end of the allocation, TERM from scancel.
trap 'caught=yes; ended=${{ended:-{SESSION_OVER}}}; [ -z "$sweep" ] || kill -TERM "$sweep"' USR1
trap 'caught=yes; ended=${{ended:-143}}; [ -z "$sweep" ] || kill -TERM "$sweep"' TERM

wait_for() {{ # gives the exit code of a process, although a trap ends the wait for it
    local code=0 now
    while :; do
        caught=''
        wait "$1"
        now=$?
        [ "$now" = 127 ] || code=$now
        [ -n "$caught" ] || return "$code"
    done
}}

on_nodes() {{ # becomes a command once on each of some nodes: COUNT WHICH COMMAND...
    local count=$1 which=$2
    shift 2
    exec srun --overlap --no-kill --kill-on-bad-exit=0 --wait=0 --nodes="$count" --ntasks="$count" \
        --ntasks-per-node=1 --cpus-per-task="$cpus" ${{which:+"$which"}} "$@"
}}

start_nodes() {{ # starts Ray on some nodes, in the background: COUNT WHICH ROLE...
    local count=$1 which=$2
    shift 2
    # the text in single quotes is for the shells on the nodes
    # shellcheck disable=SC2016
    on_nodes "$count" "$which" bash -c \
        'log=$1/$SLURMD_NODENAME.log; shift; exec "$@" --name "$SLURMD_NODENAME" >"$log" 2>&1' \
        node "$logs" "$python" -P -m cluster.node "$@" \
        --cpus "$cpus" --gpus "$gpus" --folders "$folders" 2>>"$logs/srun.log" &
    steps+=("$!")
}}

within() {{ # waits for processes, and kills them after some seconds: SECONDS PIDS...
    local left=$1
    shift
    while [ "$left" -gt 0 ] && kill -0 "$@" 2>/dev/null; do
        sleep 1
        left=$((left - 1))
    done
    kill -KILL "$@" 2>/dev/null
    wait "$@"
}}

remove_folders() {{ # what killed nodes of this job have left; one by one, for one may be down
    local host pids=()
    for host in $(scontrol show hostnames "$SLURM_JOB_NODELIST"); do
        # shellcheck disable=SC2016
        on_nodes 1 "--nodelist=$host" --immediate=15 --output=/dev/null \
            bash -c 'rm -rf -- /tmp/"$1"*' remove "$folders" 2>>"$logs/srun.log" &
        pids+=("$!")
    done
    within 20 "${{pids[@]}}"
}}

keep_logs() {{ # in the run's folder, as soon as there is one
    local old
    [ -d "$run" ] && [ ! -L "$run/slurm" ] || return 0
    mkdir -p "$run/slurm"
    for old in "$beside/$SLURM_JOB_ID".*/; do
        [ ! -d "$old" ] || mv -- "$old" "$run/slurm/"
    done
}}

answers() {{ (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }}

stopped() {{ # since an earlier session of this job; a sweep takes the file for an old one
    [ "${{SLURM_RESTART_COUNT:-0}}" -gt 0 ] && [ -e "$run/stop" ]
}}

train() {{ # gives the sweep's exit code
    local here head tries code words=("${{first[@]}}")
    ! stopped || return 143
    head=$SLURMD_NODENAME
    here=$("$python" -P -c 'import ray; print(ray.util.get_node_ip_address())') || return 3
    start_nodes 1 "--nodelist=$head" head --port "$port"
    for ((tries = 0; tries < 120; tries++)); do
        [ -z "$ended" ] || return "$ended"
        ! answers "$here" "$port" || break
        sleep 1
    done
    if [ "$nodes" -gt 1 ]; then
        start_nodes $((nodes - 1)) "--exclude=$head" worker --head "$here:$port"
    fi
    "$python" -P -m cluster.probe "$here:$port" "$nodes" 180 >"$logs/probe.log" 2>&1 &
    wait_for "$!" || echo "not all of $nodes nodes are up; the sweep goes on with the others"
    [ -z "$ended" ] || return "$ended"
    ! stopped || return 143
    echo "$here:$port" >"$beside/address"
    [ ! -s "$run/journal.jsonl" ] || words=("${{again[@]}}")
    "$python" -P -m sweeps.run "${{words[@]}}" "${{flags[@]}}" --address "$here:$port" &
    sweep=$!
    wait_for "$sweep"
    code=$?
    sweep=''
    [ "$ended:$code" != {SESSION_OVER}:143 ] || code={SESSION_OVER}
    return "$code"
}}

echo "session $session on $SLURM_JOB_NODELIST begins $(date -Is)"
if [ -z "${{SLURM_JOB_END_TIME:-}}" ]; then
    end=$(squeue --noheader --jobs "$SLURM_JOB_ID" --format %e)
    SLURM_JOB_END_TIME=$(date --date "$end" +%s) && export SLURM_JOB_END_TIME
fi
mkdir -p "$logs"
rm -f -- "$beside/address" "$beside/$SLURM_JOB_ID".*.token # of a session that was killed
head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$RAY_AUTH_TOKEN_PATH"
remove_folders
train
code=$?
if [ "${{#steps[@]}}" -gt 0 ]; then
    scancel --signal=TERM "$SLURM_JOB_ID" # its steps; srun would kill them on SIGTERM
    within 12 "${{steps[@]}}" # of a node that went, srun would wait for ever
fi
remove_folders
rm -f -- "$RAY_AUTH_TOKEN_PATH" "$beside/address"
keep_logs
[ "$code" != {SESSION_OVER} ] || [ ! -e "$run/stop" ] || code=143 # made since the sweep looked
echo "session $session ends with $code $(date -Is)"
state=$(squeue --noheader --jobs "$SLURM_JOB_ID" --states all --format %T)
if [ "$code" = {SESSION_OVER} ] && [ "$state" = RUNNING ]; then
    scontrol requeue "$SLURM_JOB_ID"
elif [ "$code" = {SESSION_OVER} ]; then
    echo "the job is not queued again, because it is $state"
fi
exit "$code"
"""
