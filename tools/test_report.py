"""What tools/dev runs, and how it counts what came of it.

Two kinds of test programs are understood: Catch2 ones, by their XML report, and those that print TAP. Anything else, a
build or a check, is a step that succeeds or fails. A program that crashes, hangs, or reports nothing counts as a failure.
"""

import concurrent.futures
import copy
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
TESTS_OF_A_LAB = 12  # starting one takes some 8 s

# Takes no time from what runs beside it. The kernel weighs sessions against each other first (sched(7), "the autogroup
# feature"), and run() gives each command one, so nice alone would mean nothing.
BACKGROUND = ["sh", "-c", 'echo 19 2>/dev/null >/proc/self/autogroup; exec nice -n 19 "$0" "$@"']

children = set()


def run(command, limit=None, background=False, **options):
    """Runs command in a session of its own: its status (124: time was up), its output, its error output."""
    command = [*BACKGROUND, *command] if background else command
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=options.pop("stderr", subprocess.PIPE), start_new_session=True, **options)
    children.add(process)
    try:
        output, errors = process.communicate(timeout=limit)
        return process.returncode, output.decode(errors="replace"), (errors or b"").decode(errors="replace")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, errors = process.communicate()
        return 124, output.decode(errors="replace"), f"no end within {limit} s"
    finally:
        children.discard(process)


def kill_children():
    for process in list(children):
        try:
            os.killpg(process.pid, signal.SIGTERM)
        except ProcessLookupError:
            pass


def end_children(*_):
    kill_children()
    os._exit(130)


class Report:
    """Counts what was tried. A row of the final table is a test program, or a step such as a build."""

    def __init__(self):
        self.rows, self.lock, self.started = [], threading.Lock(), time.monotonic()
        self.second_tries = []  # what passed on its second try, with its row's name
        self.background = False

    def in_background(self):
        """The same report, whose steps take no time from the rest. Tests do: they would be at the mercy of the clock."""
        view = copy.copy(self)
        view.background = True
        return view

    def add(self, name, since, passed=0, failures=(), skips=()):
        with self.lock:
            self.rows.append((name, passed, len(failures), len(skips), time.monotonic() - since))
            for what in failures:
                print(f"FAILED {name}: {what}", flush=True)
            for what in skips:
                print(f"skipped {name}: {what}", flush=True)
            print(f"{name}: {passed} passed, {len(failures)} failed, {len(skips)} skipped, "
                  f"{time.monotonic() - since:.0f} s", flush=True)

    def step(self, name, *commands, limit=None):
        """One pass or failure: do all commands succeed?"""
        since = time.monotonic()
        for command in commands:
            status, output, errors = run(command, limit, self.background, stderr=subprocess.STDOUT)
            if status:
                self.add(name, since, failures=[f"{' '.join(command)}: status {status}\n{errors}{tail(output)}"])
                return False
        self.add(name, since, passed=1)
        return True

    def catch2(self, name, program, limit, **environment):
        """The test cases of a Catch2 program. Its report goes to our pipe, what its tests print elsewhere."""
        since = time.monotonic()
        cases = self.run_catch2([], program, limit, [], environment)
        failures = [f"{case}\n{why}" for case, why in cases.failures.items()] + ([cases.broken] if cases.broken else [])
        self.add(name, since, len(cases.passed), failures, cases.skips)

    def catch2_in_labs(self, name, program, limit, lab, more_labs, shell=True, tag=None, **environment):
        """The same, or those of them with tag, in emulated machines of one core each: one, and as many as there are
        cores once more_labs is set. Where they have no shell that runs there, what tests print gets into the report.

        Nested emulation is not perfect: a lab may go down, or its clock stand still. So a test that failed, or whose lab
        did, is run a second time; failing twice is a failure. One that passed then is named and counted at the end: it is a
        fault to be mended all the same.
        """
        since = time.monotonic()
        names = list_catch2([*([] if shell else lab), program, *([tag] if tag else [])])
        if not names:
            return self.add(name, since, failures=[f"{program} names no tests"])
        parts = max(1, len(names) // TESTS_OF_A_LAB)
        todo = [names[first::parts] for first in range(parts)]  # neighbours are alike, so each lab gets some of them
        passed, failures, skips, second_time, lock = 0, [], [], set(), threading.Lock()

        def settle(chosen, cases):
            nonlocal passed
            passed += len(cases.passed)
            self.second_tries.extend(f"{name}: {case}" for case in cases.passed if case in second_time)
            skips.extend(cases.skips)
            failed = dict(cases.failures)
            if cases.lab_failed:
                failed[cases.running] = cases.broken
            elif cases.broken:
                failures.append(cases.broken)
            failures.extend(f"{case}\n{why}" for case, why in failed.items() if case in second_time)
            again = [case for case in failed if case not in second_time]
            second_time.update(again)
            for case, seconds in cases.times:
                print(f"  {seconds:5.0f} s  {case}", flush=True)
            for case in again:
                print(f"again {name}: {case}\n{failed[case]}", flush=True)
            if cases.lab_failed:
                done = {case for case, _ in cases.times} | {cases.running}
                again += [case for case in chosen if case not in done]
            if again:
                todo.append(again)

        def work():
            while True:
                with lock:
                    if not todo:
                        return more_labs.set()
                    chosen = todo.pop(0)
                cases = self.run_catch2(lab, program, limit, chosen, environment, shell)
                with lock:
                    settle(chosen, cases)

        def work_when_free():
            more_labs.wait()
            work()

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for lane in [pool.submit(work), *(pool.submit(work_when_free) for _ in range(os.cpu_count() - 1))]:
                lane.result()
        self.add(name, since, passed, failures, skips)

    def run_catch2(self, prefix, program, limit, names, environment, shell=True):
        """Runs these of its test cases (all when there are none), by way of prefix."""
        with tempfile.NamedTemporaryFile("w", prefix="vmm-tests-") as chosen:
            # In such a file a comma, even in a name, is a separator.
            chosen.write("\n".join(name.replace("\\", "\\\\").replace(",", "\\,") for name in names))
            chosen.flush()
            apart = ["sh", "-c", 'exec 3>&1 1>&2 && exec "$0" "$@" -o /dev/fd/3'] if shell else []
            status, output, errors = run(
                [*prefix, *apart, program, "-d", "yes", "-r", "xml", *(["-f", chosen.name] if names else [])],
                limit, env={**os.environ, **environment})
        cases = read_catch2(output)
        cases.lab_failed = bool(prefix and status == 125 and "tools/lab: the lab" in errors and cases.running)
        if status == 77:  # the whole program: what meson and automake understand by it
            cases.skips.append(errors.strip() or "it does not say why")
        elif (status and not cases.failures) or not cases.complete:
            cases.broken = (f"{program} ended with status {status}"
                            + (f" in '{cases.running}'" if cases.running else "") + f"\n{tail(errors)}")
        elif names and len(cases.times) != len(names):
            cases.broken = f"of {len(names)} tests only {len(cases.times)} were run"
        return cases

    def tap(self, name, command, limit):
        """The tests of a program that prints TAP: "ok 1 - name", "not ok 2 - name", "ok 3 - name # SKIP why"."""
        since = time.monotonic()
        status, output, errors = run(command, limit)
        oks = [line for line in output.splitlines() if line.startswith("ok ")]
        skips = [line.split(" - ", 1)[1] for line in oks if "# SKIP" in line]
        failures = [line.split(" - ", 1)[1] for line in output.splitlines() if line.startswith("not ok ")]
        if (status and not failures) or not oks:
            failures.append(f"{' '.join(command)}: status {status}\n{tail(errors)}")
        self.add(name, since, len(oks) - len(skips), failures, skips)

    def finish(self):
        """Prints the table and the totals; exits with the verdict."""
        width = max(len(row[0]) for row in self.rows)
        print(f"\n{'':{width}}  passed  failed  skipped  seconds")
        for name, passed, failed, skipped, seconds in self.rows:
            print(f"{name:{width}}  {passed:6}  {failed:6}  {skipped:7}  {seconds:7.0f}")
        passed, failed, skipped = (sum(row[column] for row in self.rows) for column in (1, 2, 3))
        for case in self.second_tries:
            print(f"passed on its second try, which is a fault as well: {case}")
        print(f"took {time.monotonic() - self.started:.0f} s")
        print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")
              + (f", {len(self.second_tries)} passed on a second try" if self.second_tries else ""), flush=True)
        sys.exit(1 if failed or not passed else 0)


def tail(text, lines=60):
    return "\n".join("  | " + line for line in text.splitlines()[-lines:])


class Cases:
    """What a Catch2 program's XML report says, which ends early when the program does."""

    def __init__(self):
        self.passed, self.failures, self.skips, self.times = [], {}, [], []
        self.running, self.complete = None, False
        self.broken, self.lab_failed = "", False  # why the program as a whole did not do; whether its lab is to blame


def list_catch2(command):
    """The names of the test cases that command would run, in their order."""
    # Catch2 v2 returns the number of tests here.
    listing = subprocess.run([*command, "--list-test-names-only"], cwd=ROOT, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, text=True).stdout
    return [line.strip() for line in listing.splitlines() if line.strip()]


def read_catch2(report):
    """A test that warns "skipped: why" and returns was skipped (Catch2 v2 has no word for it)."""
    cases = Cases()
    parser = ElementTree.XMLPullParser(("start", "end"))
    parser.feed(report)
    try:
        for event, element in parser.read_events():
            cases.complete |= event == "end" and element.tag == "Catch"
            if element.tag != "TestCase":
                continue
            name = element.get("name")
            cases.running = name if event == "start" else None
            if event == "start":
                continue
            result = element.find("OverallResult")
            cases.times.append((name, float(result.get("durationInSeconds", 0))))
            reasons = [(warning.text or "").strip() for warning in element.iter("Warning")]
            reasons = [reason for reason in reasons if reason.startswith("skipped:")]
            if result.get("success") != "true":
                cases.failures[name] = "\n".join(why_failed(element))
            elif reasons:
                cases.skips.append(f"{name}: {reasons[0][len('skipped:'):].strip()}")
            else:
                cases.passed.append(name)
    except ElementTree.ParseError:
        pass
    return cases


def why_failed(case):
    for element in case.iter():
        text = " ".join((element.text or "").split())
        if element.tag == "Expression" and element.get("success") == "false":
            text = " -> ".join(" ".join((element.findtext(part) or "").split()) for part in ("Original", "Expanded"))
            yield f"  | {element.get('filename')}:{element.get('line')}: {element.get('type')}({text})"
        elif element.tag in ("Exception", "Failure", "FatalErrorCondition", "Info", "Warning"):
            yield f"  | {element.tag}: {text}"
