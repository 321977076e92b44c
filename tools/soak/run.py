#!/usr/bin/env python3
"""tools/soak/run.py NAME [ARGUMENT...]

Tries that take hours, and so are no part of `tools/dev test`. `tools/dev soak` builds what they need and runs this.
Exit status: 0, or 1 when something came out that should not.
"""

import os
import signal
import sys

sys.path.insert(1, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

import deaths  # noqa: E402
import flaky  # noqa: E402
from test_report import end_children  # noqa: E402

SOAKS = {"deaths": deaths.soak, "flaky": flaky.soak}  # name: a function of the arguments that returns the exit status; its docstring is the help


def main():
    name, arguments = "".join(sys.argv[1:2]), sys.argv[2:]
    if name in ("", "-h", "--help"):
        for soak, function in SOAKS.items():
            print(f"tools/dev soak {soak:6} {function.__doc__}")
        return 0
    if name not in SOAKS:
        print(f"tools/dev: there is no soak '{name}'\n  fix: tools/dev soak lists them", file=sys.stderr)
        return 1
    signal.signal(signal.SIGINT, end_children)
    signal.signal(signal.SIGTERM, end_children)
    return SOAKS[name](arguments)


sys.exit(main())
