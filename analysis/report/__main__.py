"""`mpc-router-report RUN` writes one HTML file that needs no network and no server."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from analysis.report.page import write_figures, write_report
from mpc_router.terminal.flags import Parser, add_trust_flag, place
from mpc_router.terminal.streams import command, say_error


def parser() -> Parser:
    """Gives the parser of the command's arguments."""
    made = Parser(
        "mpc-router-report",
        "Write a run's report: one HTML file that needs no network.",
        "  mpc-router-report runs/mrpc_grid-20261123T120000\n",
    )
    made.add_argument("run", type=place, metavar="RUN", help="folder of a run")
    made.add_argument("--figures", type=place, metavar="DIR", help="pictures too: svg, pdf, png")
    made.add_argument("--csv", type=place, metavar="DIR", help="tables too, as CSV files")
    made.add_argument("--out", type=place, metavar="FILE", help="default: RUN/report.html")
    made.add_argument("--split", help="quoted split (default: the task's first)")
    made.add_argument("--costs", metavar="VECTOR", help="a cost vector of the run, or file:PATH")
    add_trust_flag(made)
    return made


@command("analysis")
def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the report and prints its path; gives 0, or 2 with one line where that cannot be."""
    options = parser().parse_args(arguments)
    from mpc_router.plugins import trust

    trust(options.trust)
    from analysis.runs.load import RunError, load_run
    from analysis.runs.recosting import priced
    from analysis.runs.untrusted import guarded

    try:
        with guarded(options.run):
            run, vector = priced(load_run(options.run), options.costs)
            path = write_report(run, options.out, split=options.split, vector=vector)
            if options.figures:
                write_figures(run, options.figures, split=options.split, vector=vector)
            if options.csv:
                from analysis.export import to_csv

                to_csv(run, options.csv)
    except BrokenPipeError:
        raise  # a reader is gone, which is no error
    except RunError as error:
        return say_error(str(error), 2)
    except OSError as error:
        return say_error(f"{options.out or options.run}: cannot be written ({error})", 2)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
