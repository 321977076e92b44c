#!/usr/bin/env python3
"""How tools/test_report.py counts a Catch2 program: one that passes, fails, dies, or loses its lab on the way."""

import contextlib
import io
import os
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools"))

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

    def count(self, fates, prefix=("env",)):
        """Passed and failed of a run with these fates; what it printed; the tests as they were started."""
        report, printed = Report(), io.StringIO()
        with contextlib.redirect_stdout(printed):
            report.catch2("x", self.program, 60, prefix, FATES=fates, STARTED=self.started)
        _, passed, failed, _, _ = report.rows[0]
        with open(self.started) as file:
            return passed, failed, printed.getvalue(), [line[0] for line in file]

    def test_what_passes_and_what_fails(self):
        passed, failed, printed, _ = self.count("pfp")
        self.assertEqual((passed, failed), (2, 1))
        self.assertIn("FAILED x: b, with a comma", printed)

    def test_a_lost_lab_has_the_rest_run_in_another(self):
        passed, failed, printed, started = self.count("pl")
        self.assertEqual((passed, failed, started), (3, 0, list("abbc")))
        self.assertIn("again x: the lab failed in 'b, with a comma'", printed)

    def test_each_test_may_lose_one_lab(self):
        self.assertEqual(self.count("lplpl")[:2], (3, 0))

    def test_a_second_loss_in_one_test_is_a_failure(self):
        passed, failed, printed, started = self.count("pll")
        self.assertEqual((passed, failed, started), (1, 1, list("abb")))
        self.assertIn("status 125 in 'b, with a comma'", printed)

    def test_without_a_lab_none_is_lost(self):
        self.assertEqual(self.count("pl", prefix=())[:2], (1, 1))

    def test_a_program_that_dies_is_a_failure(self):
        passed, failed, printed, _ = self.count("pd")
        self.assertEqual((passed, failed), (1, 1))
        self.assertIn("status 134 in 'b, with a comma'", printed)


class GuestTests(unittest.TestCase):
    def test_they_tell_their_names_where_they_cannot_run(self):
        for program in ("boot-tests", "payload-tests"):
            names = list_catch2(os.path.join(ROOT, "build/tests/boot", program))
            self.assertGreater(len(names), 20)
            self.assertFalse([name for name in names if ": " not in name or name.startswith("skipped")])


unittest.main()
