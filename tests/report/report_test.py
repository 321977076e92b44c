#!/usr/bin/env python3
"""How tools/test_report.py counts a Catch2 program: one that passes, fails, dies, or loses its lab on the way; and what
tools/dev demo says of itself."""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import threading
import unittest
import unittest.mock

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tools"), os.path.join(ROOT, "tools/soak")]

from flaky import Tally, load, run_tests  # noqa: E402
from test_report import Report, list_catch2  # noqa: E402

# Stands in for a Catch2 program in a lab. FATES has a letter for each time it starts a test: p passes, f fails, l loses
# the lab, d dies. STARTED gets a line for each.
PROGRAM = r"""#!/usr/bin/env python3
import os, sys
names = ["a", "b, with a comma", "c\\d"]
if "--list-test-names-only" in sys.argv:
    print("\n".join(names))
    sys.exit(len(names))
if "-f" in sys.argv:
    with open(sys.argv[sys.argv.index("-f") + 1]) as file:
        chosen = [line.replace("\\,", ",").replace("\\\\", "\\") for line in file.read().splitlines()]
    names = [name for name in names if name in chosen]
report = open(sys.argv[sys.argv.index("-o") + 1], "w")
print("<Catch><Group>", file=report)
failed = 0
for name in names:
    with open(os.environ["STARTED"], "a+") as started:
        started.seek(0)
        count = len(started.readlines())
        fate = (os.environ["FATES"] + "ppppppppp")[count]
        print(name, file=started)
    print(f'<TestCase name="{name}">', file=report, flush=True)
    if fate == "l":
        print("tools/lab: the lab hung under the command", file=sys.stderr)
        os._exit(125)
    if fate == "d":
        os._exit(134)
    failed += fate == "f"
    print(f'<OverallResult success="{str(fate == "p").lower()}" durationInSeconds="0"/></TestCase>', file=report)
print("</Group></Catch>", file=report, flush=True)
sys.exit(failed)
"""


class Catch2Report(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="vmm-report-")
        self.addCleanup(folder.cleanup)
        self.program = os.path.join(folder.name, "program")
        self.started = os.path.join(folder.name, "started")
        with open(self.program, "w") as file:
            file.write(PROGRAM)
        os.chmod(self.program, 0o755)

    def count(self, fates, in_labs=True):
        """Passed and failed of a run with these fates; what it printed; the tests as they were started."""
        report, printed = Report(), io.StringIO()
        environment = {"FATES": fates, "STARTED": self.started}
        with contextlib.redirect_stdout(printed):
            if in_labs:
                report.catch2_in_labs("x", self.program, 60, ["env"], threading.Event(), **environment)
            else:
                report.catch2("x", self.program, 60, **environment)
        _, passed, failed, _, _ = report.rows[0]
        with open(self.started) as file:
            return passed, failed, printed.getvalue(), [line[0] for line in file]

    def test_what_passes_and_what_fails(self):
        passed, failed, printed, _ = self.count("pfp", in_labs=False)
        self.assertEqual((passed, failed), (2, 1))
        self.assertIn("FAILED x: b, with a comma", printed)

    def test_in_a_lab_a_failure_is_told_and_tried_again(self):
        passed, failed, printed, started = self.count("pfp")
        self.assertEqual((passed, failed, started), (3, 0, list("abcb")))
        self.assertIn("again x: b, with a comma", printed)

    def test_what_passed_on_its_second_try_is_in_the_closing_lines(self):
        report, printed = Report(), io.StringIO()
        with contextlib.redirect_stdout(printed), self.assertRaises(SystemExit) as end:
            report.catch2_in_labs("x", self.program, 60, ["env"], threading.Event(), FATES="pfp", STARTED=self.started)
            report.finish()
        self.assertEqual(end.exception.code, 0)
        *_, named, _, totals = printed.getvalue().splitlines()
        self.assertEqual(named, "passed on its second try, which is a fault as well: x: b, with a comma")
        self.assertEqual(totals, "3 passed, 0 failed, 1 passed on a second try")

    def test_a_second_failure_in_a_lab_is_one(self):
        passed, failed, printed, started = self.count("fppf")
        self.assertEqual((passed, failed, started), (2, 1, list("abca")))
        self.assertIn("FAILED x: a", printed)

    def test_a_lost_lab_has_the_rest_run_in_another(self):
        passed, failed, printed, started = self.count("pl")
        self.assertEqual((passed, failed, started), (3, 0, list("abbc")))
        self.assertIn("again x: b, with a comma", printed)

    def test_each_test_may_lose_one_lab(self):
        self.assertEqual(self.count("lplpl")[:2], (3, 0))

    def test_a_second_loss_in_one_test_is_a_failure(self):
        passed, failed, printed, started = self.count("pll")
        self.assertEqual((passed, failed, started), (2, 1, list("abbc")))
        self.assertIn("status 125 in 'b, with a comma'", printed)

    def test_without_a_lab_none_is_lost(self):
        self.assertEqual(self.count("pl", in_labs=False)[:2], (1, 1))

    def test_a_program_that_dies_is_a_failure(self):
        for in_labs in (False, True):
            os.path.exists(self.started) and os.remove(self.started)
            passed, failed, printed, _ = self.count("pd", in_labs)
            self.assertEqual((passed, failed), (1, 1))
            self.assertIn("status 134 in 'b, with a comma'", printed)

    def test_several_labs_share_the_tests(self):
        report, more_labs = Report(), threading.Event()
        more_labs.set()
        with contextlib.redirect_stdout(io.StringIO()), unittest.mock.patch("test_report.TESTS_OF_A_LAB", 1):
            report.catch2_in_labs("x", self.program, 60, ["env"], more_labs, FATES="", STARTED=self.started)
        self.assertEqual(report.rows[0][1:3], (3, 0))


    def soak(self, fates, rounds):
        """Runs and failures of each test, and labs that were lost, when all are run so many times."""
        tally = Tally()
        with contextlib.redirect_stdout(io.StringIO()):
            for _ in range(rounds):
                run_tests(tally, self.program, ["env"], list_catch2([self.program]),
                          {"FATES": fates, "STARTED": self.started})
        return [tally.runs[name] for name in sorted(tally.runs)], dict(tally.failures), tally.labs_lost

    def test_a_soak_tries_nothing_a_second_time(self):
        self.assertEqual(self.soak("ppppfp", 3), ([3, 3, 3], {"b, with a comma": 1}, 0))

    def test_a_soak_counts_a_program_that_dies_and_runs_the_rest(self):
        self.assertEqual(self.soak("dpp", 1), ([1, 1, 1], {"a": 1}, 0))

    def test_a_soak_takes_another_lab_for_one_that_went_down(self):
        self.assertEqual(self.soak("plpp", 1), ([1, 1, 1], {}, 1))

    def test_a_soak_gives_up_on_a_test_that_loses_every_lab(self):
        runs, failures, labs_lost = self.soak("lll", 1)
        self.assertEqual((runs, labs_lost), ([1, 1, 1], 3))
        self.assertEqual(sorted(failures), ["a", "b, with a comma", "c\\d"])

    def test_the_load_of_a_soak_ends_with_it(self):
        with load(2) as burners:
            self.assertEqual([burner.poll() for burner in burners], [None, None])
        self.assertNotIn(None, [burner.poll() for burner in burners])


class GuestTests(unittest.TestCase):
    def test_they_tell_their_names_where_they_cannot_run(self):
        for program in ("boot-tests", "payload-tests"):
            names = list_catch2([os.path.join(ROOT, "build/tests/boot", program)])
            self.assertGreater(len(names), 20)
            self.assertFalse([name for name in names if ": " not in name or name.startswith("skipped")])


class Demo(unittest.TestCase):
    def test_its_help_explains_the_demo_and_neither_asks_for_packages_nor_builds(self):
        with tempfile.TemporaryDirectory(prefix="vmm-demo-") as folder:
            for name in ("dpkg", "dpkg-query", "apt-get", "sudo", "meson", "ninja"):
                path = os.path.join(folder, name)
                with open(path, "w") as file:
                    file.write(f"#!/bin/sh\ntouch {folder}/called\nexit 1\n")
                os.chmod(path, 0o755)
            for word in ("--help", "-h"):
                told = subprocess.run([os.path.join(ROOT, "tools/dev"), "demo", word], capture_output=True, text=True,
                                      env={**os.environ, "PATH": folder + ":" + os.environ["PATH"]})
                self.assertEqual((told.returncode, told.stderr), (0, ""))
                for part in ("--arch aarch64", "VMM-OPTION", "--net user", "installs nothing"):
                    self.assertIn(part, told.stdout)
            self.assertFalse(os.path.exists(os.path.join(folder, "called")))


unittest.main()
