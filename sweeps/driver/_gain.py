"""Says why a session of a run has gained nothing that a resume could go on from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sweeps.journal.state import State
from sweeps.records import SELECTION
from sweeps.worker.job import STATE_PAUSE


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Holds what a run could go on from at some moment."""

    ended: int
    """Counts the trials that have ended for good."""

    kept: Mapping[str, str]
    """Gives the file of its kept state by pack."""

    joint_epochs: int
    """Counts the epochs of joint trials, each of which is kept."""

    starts: int
    """Counts the starts of packs."""

    @staticmethod
    def of(state: State, joint_sets: Collection[str]) -> Standing:
        """Reads the standing off a run's state; `joint_sets` names the sets of joint trials."""
        return Standing(
            ended=sum(state.is_final(key) for key in state.endings),
            kept={pack: kept.file for pack, kept in state.kept.items()},
            joint_epochs=sum(
                report.epoch
                for (key, split), report in state.latest.items()
                if split == SELECTION and state.trials[key].prepared in joint_sets
            ),
            starts=sum(state.attempts.values()),
        )


def no_gain(before: Standing, now: Standing, *, reports: int) -> str:
    """Says in a sentence why nothing was gained since `before`; empty where something was.

    `reports` counts the messages with reports that packs have sent since.
    """
    if now.ended > before.ended or now.joint_epochs > before.joint_epochs:
        return ""
    if any(file != before.kept.get(pack) for pack, file in now.kept.items()):
        return ""
    if now.starts == before.starts:
        why = "it ended before a pack was started"
    elif not reports:
        why = "it ended before a pack had trained an epoch"
    else:
        why = (
            f"it ended before a pack's state was kept, which takes {STATE_PAUSE:g} s of training, "
            "and longer for a large pack"
        )
    return f"nothing was finished in this session, because {why}; give the next one more time"
