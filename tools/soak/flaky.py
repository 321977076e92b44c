"""Runs tests with guests again and again on a busy machine. A test whose verdict hangs on who is quicker passes alone
and fails there, sooner or later; here nothing is tried a second time."""

import argparse
import collections
import concurrent.futures
import contextlib
import os
import platform
import subprocess
import sys
import threading
import time

from guest_images import TEST_IMAGES, image_environment, runs_here
from test_report import ROOT, TESTS_OF_A_LAB, Report, list_catch2

PROGRAMS = {  # architecture: folder, test programs in it, images, what is behind these images' names
    "x86_64": ("build", ("boot-tests", "payload-tests"), TEST_IMAGES, ""),
    "aarch64": ("build/aarch64", ("boot-tests",), ("tiny", "debian-kernel", "debian-full-kernel", "debian"), "-arm64"),
}
LAB_LIMIT = 7200  # seconds, for a lab's tests on a busy machine
LABS_LOST = 3  # how often the same tests may lose theirs

# Keeps a core busy until its parent has gone, however that went.
BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(100000))"


@contextlib.contextmanager
def load(count):
    """So many processes that want a core each. The scheduler weighs sessions, so each has one of its own."""
    burners = [subprocess.Popen([sys.executable, "-c", BUSY], start_new_session=True) for _ in range(count)]
    try:
        yield burners
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


class Tally:
    """Runs of each test, and its failures."""

    def __init__(self):
        self.runs, self.failures = collections.Counter(), collections.Counter()
        self.skipped, self.labs_lost, self.lock = set(), 0, threading.Lock()

    def fail(self, name, why):
        self.failures[name] += 1
        print(f"FAILED {name}, in run {self.runs[name]}\n{why}", flush=True)

    def take(self, cases):
        """Counts what a program reports; the names of those that are done."""
        with self.lock:
            self.skipped.update(cases.skips)
            done = [name for name, _ in cases.times]
            self.runs.update(done)
            for name, why in cases.failures.items():
                self.fail(name, why)
            if cases.lab_failed:
                self.labs_lost += 1
            elif cases.broken:
                culprit = cases.running or "the program"
                self.runs[culprit] += 1
                self.fail(culprit, cases.broken)
                done.append(culprit)
            return done


def run_tests(tally, program, prefix, names, environment, shell=True):
    """Runs these tests once each; a lab that goes down costs them no run, but another lab."""
    for _ in range(LABS_LOST):
        cases = Report().run_catch2(prefix, program, LAB_LIMIT + 60, names, environment, shell)
        done = tally.take(cases)
        names = [name for name in names if name not in done]
        if not names:
            return
        if not cases.lab_failed and not cases.broken:
            break
    with tally.lock:
        for name in names:
            tally.runs[name] += 1
            tally.fail(name, f"  | it was never run to its end: {cases.broken}")


def soak(arguments):
    """[--arch ARCH] [--times N] [--load N] [TEST...]: runs each test with a guest 20 times beside a load of 8; fails if any run does"""
    parser = argparse.ArgumentParser(prog="tools/dev soak flaky", description=soak.__doc__.partition(": ")[2])
    parser.add_argument("--arch", choices=PROGRAMS, default=platform.machine(), help="whose tests; it comes first")
    parser.add_argument("--times", type=int, default=20, metavar="N", help="runs of each test (20)")
    parser.add_argument("--load", type=int, default=8, metavar="N", help="busy processes beside them (8)")
    parser.add_argument("tests", nargs="*", metavar="TEST", help="a name, with * for what may follow, or [tag]")
    options = parser.parse_args(arguments)

    folder, programs, images, suffix = PROGRAMS[options.arch]
    environment = {"VMM": f"{ROOT}/{folder}/vmm/vmm", **image_environment(images, suffix)}
    work = []
    for program in [f"{folder}/tests/boot/{name}" for name in programs]:
        here = options.arch == platform.machine()
        lab = [] if here and runs_here(program) else ["tools/lab", "--arch", options.arch, "--time", str(LAB_LIMIT), "--"]
        # A comma separates alternatives, to Catch2.
        names = list_catch2([*([] if here else lab), program, *([",".join(options.tests)] if options.tests else [])])
        parts = -(-len(names) // TESTS_OF_A_LAB)
        work += [(program, lab, names[first::parts], environment, here) for first in range(parts)]
    if not work:
        print(f"tools/dev: no test is called {' or '.join(options.tests)}", file=sys.stderr)
        return 1

    tally, since = Tally(), time.monotonic()
    with load(options.load), concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for lane in [pool.submit(run_tests, tally, *part) for _ in range(options.times) for part in work]:
            lane.result()
    for name, count in tally.failures.most_common():
        print(f"{count} of {tally.runs[name]} failed: {name}")
    print(f"took {time.monotonic() - since:.0f} s; {tally.labs_lost} labs went down, which is no test's fault")
    print(f"{len(tally.runs)} tests, {tally.runs.total()} runs, {tally.failures.total()} failed"
          + (f"; {len(tally.skipped)} tests skipped" if tally.skipped else ""), flush=True)
    return 1 if tally.failures else 0
