"""`python -m tests.fuzz [--kind words] [--seed 0] [--count 500]`: counts of faults by kind."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.fuzz.harness import judge
from tests.fuzz.kinds import KINDS


def main() -> int:
    """Prints every fault and a table of them; 0 if there is none."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=500, help="cases of each kind")
    parser.add_argument("--brief", action="store_true", help="the table alone")
    args = parser.parse_args()
    found = 0
    for kind in args.kind or KINDS:
        counts: Counter[str] = Counter()
        with tempfile.TemporaryDirectory() as folder:
            for number, case in enumerate(KINDS[kind](args.seed, args.count, Path(folder) / "in")):
                verdict = judge(case, Path(folder) / f"scratch{number}")
                counts["cases"] += 1
                counts["taken"] += verdict.code in (None, 0) and not verdict.faults
                counts["faulty"] += bool(verdict.faults)
                counts.update(fault.partition(":")[0] for fault in verdict.faults)
                for fault in () if args.brief else verdict.faults:
                    print(f"{kind} {case.name}: {fault}", flush=True)
        found += counts["faulty"]
        print(
            f"{kind}: {', '.join(f'{name} {count}' for name, count in counts.items())}", flush=True
        )
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
