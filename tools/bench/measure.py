"""Running a monitor and watching it: when which line came, what it cost, what it holds. And ratios of pairs."""

import math
import os
import re
import select
import signal
import statistics
import sys
import time


class Run:
    """One run of a program, its output watched from the moment before exec.

    `marks` maps a name to a regular expression; the time at which the output first matched it is in `times`, in
    seconds since just before exec, with `end` for the time at which the process was reaped. Marks are looked for
    line by line, in what has arrived, so that a mark needs no newline after it. Its input is empty, or what type() gets.
    """

    def __init__(self, command, marks=None, typed=False):
        self.command = command
        self.marks = {}
        for name, pattern in (marks or {}).items():
            self.expect(name, pattern)
        self.times = {}
        self.output = b""
        self.status = self.usage = None
        reader, writer = os.pipe2(os.O_CLOEXEC)
        self.reader = reader
        if typed:
            source, self.keyboard = os.pipe2(os.O_CLOEXEC)
        else:
            source, self.keyboard = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), None
        # vfork inside: what this interpreter weighs does not count.
        self.start = time.monotonic()
        self.pid = os.posix_spawn(command[0], command, os.environ,
                                  file_actions=[(os.POSIX_SPAWN_DUP2, source, 0), (os.POSIX_SPAWN_DUP2, writer, 1),
                                                (os.POSIX_SPAWN_DUP2, writer, 2)])
        os.close(writer)
        os.close(source)

    def expect(self, name, pattern):
        """From now on a mark as well."""
        self.marks[name] = re.compile(pattern.encode())

    def type(self, text):
        os.write(self.keyboard, text.encode())

    def watch(self, limit, until=None):
        """Reads until the mark `until`, or the end; False when that did not come within `limit` seconds."""
        deadline = time.monotonic() + limit
        while until is None or until not in self.times:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.reader], [], [], left)[0]:
                return False
            data = os.read(self.reader, 65536)
            now = time.monotonic() - self.start
            if not data:
                self._reap()
                return until is None
            line_start = self.output.rfind(b"\n") + 1
            self.output += data
            for name, pattern in self.marks.items():
                if name not in self.times and pattern.search(self.output, line_start):
                    self.times[name] = now
        return True

    def finish(self, limit):
        """Watches until the end, which is brought about after `limit` seconds; True when it came by itself."""
        ended = self.watch(limit)
        if not ended:
            self.kill()
        return ended

    def kill(self):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self._reap()

    def _reap(self):
        _, status, self.usage = os.wait4(self.pid, 0)
        self.times["end"] = time.monotonic() - self.start
        self.status = os.waitstatus_to_exitcode(status)
        os.close(self.reader)
        if self.keyboard is not None:
            os.close(self.keyboard)

    @property
    def age(self):
        return time.monotonic() - self.start

    @property
    def cpu(self):
        """Seconds of CPU that the whole run took, guest included."""
        return self.usage.ru_utime + self.usage.ru_stime

    def fail(self, what):
        self.kill()
        words = " ".join(self.command)
        raise Failure(f"{what} (status {self.status}): {words}\n{self.output[-2000:].decode(errors='replace')}")


class Failure(Exception):
    """A benchmark that could not be taken."""


def say(text):
    print(f"tools/bench: {text}", file=sys.stderr, flush=True)


def turns(count, seconds, least=1):
    """Counts up to `count`, but from `least` on begins no turn that seems to end past `seconds`."""
    start = time.monotonic()
    for turn in range(count):
        spent = time.monotonic() - start
        if turn >= least and spent * (turn + 1) / turn > seconds:
            say(f"{turn} of {count} rounds, which took {spent:.0f} s: there is time for no more")
            return
        yield turn


def thread_cpu(pid, name):
    """Seconds of CPU of each thread of a process whose name matches, by the scheduler's own count."""
    seconds = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        folder = f"/proc/{pid}/task/{task}"
        try:
            with open(f"{folder}/comm") as comm, open(f"{folder}/schedstat") as schedstat:
                if re.search(name, comm.read()):
                    seconds[task] = int(schedstat.read().split()[0]) / 1e9
        except OSError:
            continue  # it has ended
    return seconds


def thread_wakeups(pid, name):
    """How often the threads of a process whose name matches have gone to sleep by themselves, together."""
    count = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        folder = f"/proc/{pid}/task/{task}"
        try:
            with open(f"{folder}/comm") as comm, open(f"{folder}/status") as status:
                if re.search(name, comm.read()):
                    count += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read(), re.M)[1])
        except OSError:
            continue  # it has ended
    return count


def memory(pid, guest_bytes):
    """What a process holds besides the guest's RAM, in bytes: (resident, resident and not shared with files).

    The RAM is told by the size of its mapping: the kernel may have merged it with what lies beside it, but never
    with much, so the first mapping that is large enough is it.
    """
    resident = private = 0
    with open(f"/proc/{pid}/smaps") as smaps:
        text = smaps.read()
    for block in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", text):
        begin, end = (int(part, 16) for part in re.match(r"([0-9a-f]+)-([0-9a-f]+) ", block).groups())
        if end - begin >= guest_bytes:
            continue
        sizes = {key: int(value) * 1024 for key, value in re.findall(r"^(\w+): +(\d+) kB$", block, re.M)}
        resident += sizes["Rss"]
        private += sizes["Private_Dirty"] + sizes["Private_Clean"] if " 00:00 0 " in block else sizes["Private_Dirty"]
    return resident, private


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values)}


def row(what, unit, ours, theirs=None, ratio_at_most=None, ratio_at_least=None, ours_at_most=None):
    """One line of the table. Ratios are of pairs, ours[i] / theirs[i], taken one right after the other."""
    result = {"what": what, "unit": unit, "ours": spread(ours)}
    met = []
    if theirs:
        result["theirs"] = spread(theirs)
        if all(theirs):
            result["ratio"] = spread([a / b for a, b in zip(ours, theirs)])
    ratio = result.get("ratio", {}).get("median", math.nan)  # which meets no bound
    if ratio_at_most is not None:
        result["bound"] = f"ratio <= {ratio_at_most:g}"
        met.append(ratio <= ratio_at_most)
    if ratio_at_least is not None:
        result["bound"] = f"ratio >= {ratio_at_least:g}"
        met.append(ratio >= ratio_at_least)
    if ours_at_most is not None:
        result["bound"] = f"<= {ours_at_most:g} {unit}"
        met.append(result["ours"]["median"] <= ours_at_most)
    if met:
        result["met"] = all(met)
    return result
