"""Is the process that tells one tracker of a run: `python -m sweeps.tracking NAME RUN SECONDS`.

It says on its output in one JSON line how that has ended. Its input ends with the run, and after
that it has so many seconds (0: as long as it takes). Whatever the tracker's library prints goes
nowhere, for it may hold what is secret.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Final

from mpc_router.messages import one_line, shortened
from sweeps.tracking._follow import follow
from sweeps.tracking._secrets import without_secrets
from sweeps.tracking.kinds import tracker_of

_TURN: Final = 0.5
"""Gives the seconds between two looks at the journal."""

_MARGIN: Final = 5
"""Gives the seconds that this process leaves to the one that started it, to end it with a word."""

_LONGEST: Final = 300
"""Limits the characters of a reason."""


def main(words: list[str]) -> int:
    """Follows the run until its end; gives 0, or 1 where the tracker failed."""
    name, run, seconds = words[0], Path(words[1]), int(words[2])
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)

    over = threading.Event()

    def watch() -> None:
        sys.stdin.read()
        if seconds:
            signal.alarm(seconds + _MARGIN)  # it ends, whatever its library waits for
        over.set()

    threading.Thread(target=watch, daemon=True).start()
    answer: dict[str, object]
    try:
        trials, place = follow(run, tracker_of(name, run), lambda: over.wait(_TURN))
        answer = {"trials": trials, "place": without_secrets(place, os.environ)}
    except BaseException as error:  # of a library of others, which may even call sys.exit
        reason = one_line(f"{type(error).__name__}: {error}".removesuffix(": "))
        answer = {"failed": shortened(without_secrets(reason, os.environ), _LONGEST)}
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
    os._exit("failed" in answer)  # what the library would still do at the exit may hang


if __name__ == "__main__":
    main(sys.argv[1:])
