"""`python -m router_server --model FOLDER`: serves an exported router until it is stopped."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the server; returns 2 where the model cannot be had, 0 when it was stopped."""
    parser = argparse.ArgumentParser(prog="router_server", description=__doc__)
    add = parser.add_argument
    add("--model", required=True, help="an exported folder, or an id on the hub")
    add("--revision", help="a branch, tag or commit on the hub")
    add("--bias", type=float, default=0.0, help="a price on cost, added to that of the export")
    add("--vector", help="the cost vector of bias and costs")
    add("--lazy", action="store_true", help="load an expert when it is first chosen")
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=8000)
    args = parser.parse_args(arguments)
    import uvicorn

    from mpc_router import RoutedClassifier
    from router_server.app import create_app

    try:
        router = RoutedClassifier.from_pretrained(
            args.model,
            revision=args.revision,
            bias=args.bias,
            vector=args.vector,
            lazy=args.lazy,
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    uvicorn.run(create_app(router), host=args.host, port=args.port, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main())
