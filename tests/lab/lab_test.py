#!/usr/bin/env python3
"""What tools/lab promises to the command it runs and to whoever runs it, tried in emulated labs. Prints TAP.

tests/lab/lab_test.py [WORD] runs the tests whose name has WORD in it.
"""

import fcntl
import hashlib
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
LAB = os.path.join(ROOT, "tools/lab")
EMULATED = {**os.environ, "VMM_LAB": "emulated"}
PATIENCE = 120  # seconds; nothing here takes more than a fifth of it on an idle machine

TESTS = []


def test(name):
    return lambda function: TESTS.append((name, function))


def lab(*command, options=(), **keywords):
    keywords.setdefault("input", b"")
    keywords.setdefault("env", EMULATED)
    return subprocess.run([LAB, *options, "--", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=PATIENCE, **keywords)


def start(*command, **keywords):
    return subprocess.Popen([LAB, "--", *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=EMULATED,
                            **keywords)


def started(pid):
    """When a process was started that has not ended, else None."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
            return None if fields[0] == "Z" else fields[19]
    except (FileNotFoundError, ProcessLookupError):
        return None


def children_of(pid):
    """Each with the time of its start: its number may soon be another's."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [(child, started(child)) for child in file.read().split()]


def alive(child):
    pid, start = child
    return start is not None and started(pid) == start


def wait_until(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {PATIENCE} s"
        time.sleep(0.05)


def equal(seen, wanted):
    assert seen == wanted, f"{seen!r} is not {wanted!r}"


def set_window(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class Terminal:
    """tools/lab with a terminal of 40 by 111 in front of it, as its foreground job."""

    def __init__(self, *command):
        self.seen = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            set_window(0, 40, 111)
            os.execve(LAB, [LAB, "--", *command], EMULATED)

    def read_until(self, text):
        end = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert select.select([self.fd], [], [], max(0.0, end - time.monotonic()))[0], f"no {text!r}: {self.seen!r}"
            try:
                self.seen += os.read(self.fd, 65536)
            except OSError:  # the terminal's last user has gone
                assert text in self.seen, f"no {text!r}: {self.seen!r}"

    def type(self, keys):
        os.write(self.fd, keys)

    def status(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@test("a command sees its arguments, directory and environment, and its status comes back")
def _():
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        script = 'printf "%s|" "$@"; pwd; printf %s "$LAB_TEST"; exit 37'
        result = lab("sh", "-c", script, "-", "two words", "", "line\nend", "ünï", cwd=folder,
                     env={**EMULATED, "LAB_TEST": "a=b c"})
        equal(result.stdout.decode(), f"two words||line\nend|ünï|{folder}\na=b c")
        equal(result.returncode, 37)


@test("/dev/kvm is there, on a CPU with svm")
def _():
    result = lab("sh", "-c", "exec 3<>/dev/kvm && grep -c -w svm /proc/cpuinfo")
    equal((result.stdout, result.returncode), (b"1\n", 0))


@test("standard output and standard error stay apart")
def _():
    result = lab("sh", "-c", "echo out; echo err >&2")
    equal((result.stdout, result.stderr), (b"out\n", b"err\n"))


@test("16 MiB of binary input come back unchanged, and then the end of input")
def _():
    data = os.urandom(16 << 20)
    result = lab("cat", input=data)
    equal(hashlib.sha256(result.stdout).hexdigest(), hashlib.sha256(data).hexdigest())


@test("64 MiB of output arrive whole")
def _():
    result = lab("sh", "-c", "head -c 64M /dev/zero")
    equal((len(result.stdout), result.returncode), (64 << 20, 0))


@test("input that the command does not read holds up neither it nor its end")
def _():
    result = lab("true", input=bytes(8 << 20))
    equal(result.returncode, 0)


@test("a command that is killed has the status of its signal")
def _():
    equal(lab("sh", "-c", "kill -9 $$").returncode, 137)


@test("a command that does not exist has status 127, and it is named")
def _():
    result = lab("no-such-command")
    equal(result.returncode, 127)
    assert b"'no-such-command'" in result.stderr, result.stderr


@test("a file that is no program has status 126")
def _():
    equal(lab("/etc/passwd").returncode, 126)


@test("the host's files are seen as they are, and what is written to them is thrown away")
def _():
    with tempfile.NamedTemporaryFile(dir="/var/tmp") as file:
        file.write(b"before")
        file.flush()
        result = lab("sh", "-c", f"cat {file.name}; echo after >{file.name}; cat {file.name}")
        equal(result.stdout, b"beforeafter\n")
        with open(file.name, "rb") as again:
            equal(again.read(), b"before")


@test("--time ends the command with status 124 and says so")
def _():
    started = time.monotonic()
    result = lab("sleep", "1000", options=["--time", "8"])
    equal(result.returncode, 124)
    assert b"time is up" in result.stderr, result.stderr
    assert time.monotonic() - started < 30


@test("a reader that goes away ends the command")
def _():
    process = start("yes")
    equal(process.stdout.read(4), b"y\ny\n")
    process.stdout.close()
    equal(process.wait(PATIENCE), 141)


@test("SIGTERM reaches the command, whose answer counts")
def _():
    process = start("sh", "-c", "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.1; done")
    equal(process.stdout.readline(), b"up\n")
    process.send_signal(signal.SIGTERM)
    equal((process.stdout.read(), process.wait(PATIENCE)), (b"bye\n", 9))


@test("SIGTERM ends a command that ignores it after a moment, and the lab with it")
def _():
    process = start("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done")
    equal(process.stdout.readline(), b"up\n")
    qemu = children_of(process.pid)
    process.send_signal(signal.SIGTERM)
    equal(process.wait(PATIENCE), 143)
    equal([pid for pid in qemu if alive(pid)], [])


@test("SIGTERM while the lab boots ends it")
def _():
    process = start("true")
    wait_until(lambda: children_of(process.pid), "QEMU's start")
    time.sleep(0.5)
    qemu = children_of(process.pid)
    process.send_signal(signal.SIGTERM)
    equal(process.wait(PATIENCE), 143)
    equal([pid for pid in qemu if alive(pid)], [])


@test("kill -9 of tools/lab leaves nothing running")
def _():
    process = start("sh", "-c", "echo up; sleep 1000")
    equal(process.stdout.readline(), b"up\n")
    qemu = children_of(process.pid)
    equal(len(qemu), 1)
    process.kill()
    process.wait()
    wait_until(lambda: not alive(qemu[0]), "QEMU's end")


@test("a terminal is one in the lab, of the same size")
def _():
    terminal = Terminal("sh", "-c", "test -t 0 && test -t 1 && test -t 2 && stty size; exit 5")
    terminal.read_until(b"40 111\r\n")
    equal(terminal.status(), 5)


@test("a change of the window's size arrives")
def _():
    terminal = Terminal("sh", "-c", "trap 'stty size; exit' WINCH; echo up; while :; do sleep 0.1; done")
    terminal.read_until(b"up\r\n")
    set_window(terminal.fd, 50, 90)
    terminal.read_until(b"50 90\r\n")
    equal(terminal.status(), 0)


@test("Ctrl-C reaches the command alone; the terminal is as it was afterwards")
def _():
    terminal = Terminal("sh", "-c", "trap 'echo caught; exit 3' INT; echo up; while :; do sleep 0.1; done")
    before = termios.tcgetattr(terminal.fd)
    terminal.read_until(b"up\r\n")
    terminal.type(b"\x03")
    terminal.read_until(b"caught\r\n")
    equal(terminal.status(), 3)
    equal(termios.tcgetattr(terminal.fd), before)


@test("Ctrl-C while the lab boots ends it")
def _():
    terminal = Terminal("true")
    wait_until(lambda: children_of(terminal.pid), "QEMU's start")
    time.sleep(0.5)
    qemu = children_of(terminal.pid)
    terminal.type(b"\x03")
    equal(terminal.status(), 130)
    equal([pid for pid in qemu if alive(pid)], [])


@test("a lab that hangs has status 125, and says so")
def _():
    process = subprocess.Popen([LAB, "--silence", "10", "--", "sh", "-c", "echo up; sleep 1000"], env=EMULATED,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    equal(process.stdout.readline(), b"up\n")
    pid, _ = children_of(process.pid)[0]
    os.kill(int(pid), signal.SIGSTOP)
    _, errors = process.communicate(timeout=PATIENCE)
    equal(process.returncode, 125)
    assert b"the lab hung" in errors, errors


@test("a lab whose command is silent for long has not hung")
def _():
    equal(lab("sleep", "15", options=["--silence", "10"]).returncode, 0)


@test("VMM_LAB=direct runs the command here, and limits its time")
def _():
    here = {**os.environ, "VMM_LAB": "direct"}
    equal(lab("sh", "-c", "echo $VMM_IN_LAB; exit 4", env=here).returncode, 4)
    equal(lab("sleep", "100", options=["--time", "0.2"], env=here).returncode, 124)


@test("--where tells the place and runs nothing")
def _():
    for place, said in (("direct", b"here\n"), ("emulated", b"in a lab\n")):
        result = subprocess.run([LAB, "--where"], env={**os.environ, "VMM_LAB": place}, stdout=subprocess.PIPE)
        equal((result.returncode, result.stdout), (0, said))


@test("a wrong call has status 125 and says what is right")
def _():
    for arguments in (["--time", "x", "--", "true"], [], ["--nonsense", "--", "true"]):
        result = subprocess.run([LAB, *arguments], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=PATIENCE)
        equal(result.returncode, 125)
        assert b"fix: tools/lab" in result.stderr, result.stderr


def main():
    chosen = [(name, function) for name, function in TESTS if len(sys.argv) < 2 or sys.argv[1] in name]
    failed = 0
    print(f"1..{len(chosen)}")
    for number, (name, function) in enumerate(chosen, 1):
        started = time.monotonic()
        try:
            function()
            verdict = "ok"
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            verdict = "not ok"
            failed += 1
            print("".join(f"# {line}\n" for line in traceback.format_exception_only(type(error), error)), end="")
        print(f"{verdict} {number} - {name}", flush=True)
        print(f"# {time.monotonic() - started:.1f} s", flush=True)
    sys.exit(1 if failed else 0)


main()
