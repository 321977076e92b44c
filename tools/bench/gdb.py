"""gdb: what a stop costs, over gdb's remote protocol, on this machine's own /dev/kvm, or in the lab if there is none.

A payload goes round in a loop, and is stopped in it. A step is `s` and its answer. A breakpoint's hit is all that gdb
says when a program has met one and is told to continue: registers read, the breakpoint out, a step, the breakpoint in,
and on to the next time. Where no breakpoint is met, as under an emulated AMD CPU, only steps are measured, which is said.
"""

import os
import select
import socket
import tempfile
import time

import payloads
from measure import Failure, Run, row, say, turns
from monitors import INSIDE_LAB, MICROVM, qemu, vmm

SECONDS = 120  # for all rounds
LIMIT = 10  # seconds for one answer
STEPS, HITS = (300, 100) if INSIDE_LAB else (3000, 1000)
FOR_EVER = 1_000_000_000  # rounds of the loop
RIP = slice(16 * 16, 17 * 16)  # in the answer to `g`: the 17th register of 8 bytes, in hexadecimal


class Remote:
    """The client's end of gdb's remote protocol (gdb's manual, appendix E)."""

    def __init__(self, path):
        self.input = b""
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(LIMIT)
        deadline = time.monotonic() + LIMIT
        while self.socket.connect_ex(path):
            if time.monotonic() > deadline:
                raise Failure(f"gdb: nobody listens at {path}")
            time.sleep(0.01)

    def ask(self, packet):
        """Sends packet; the answer to it, or None when none comes."""
        self.socket.sendall(b"$%s#%02x" % (packet, sum(packet) & 0xff))
        try:
            while self.input.find(b"#") < 0 or len(self.input) < self.input.find(b"#") + 3:
                received = self.socket.recv(65536)
                if not received:
                    return None
                self.input += received
            self.socket.sendall(b"+")
        except OSError:
            return None
        end = self.input.index(b"#")
        answer, self.input = self.input[self.input.index(b"$") + 1:end], self.input[end + 3:]
        return answer

    def begin(self):
        """QEMU may tell of the stop unasked as well: whatever is on its way is not the answer to what follows."""
        self.expect(b"?", b"T")
        while select.select([self.socket], [], [], 0.5)[0] and self.socket.recv(65536):
            pass
        self.input = b""

    def expect(self, packet, beginning):
        answer = self.ask(packet)
        if answer is None or not answer.startswith(beginning):
            raise Failure(f"gdb: the answer to {packet.decode()} was {answer}")
        return answer

    def address(self):
        return int.from_bytes(bytes.fromhex(self.expect(b"g", b"")[RIP].decode()), "little")


def into_the_loop(remote):
    """Steps until an address comes again, which is in the loop."""
    seen = set()
    while (address := remote.address()) not in seen:
        seen.add(address)
        remote.expect(b"s", b"T05")
    return address


def one(command, path):
    """Seconds for a step, and for a hit or None."""
    run = Run(command, {"loop": "b"})
    try:
        if not run.watch(LIMIT, "loop"):
            run.fail("the payload did not come to its loop")
        remote = Remote(path)
        remote.begin()
        address = into_the_loop(remote)
        began = time.monotonic()
        for _ in range(STEPS):
            remote.expect(b"s", b"T05")
        step = (time.monotonic() - began) / STEPS

        place = b"%x,1" % address
        remote.expect(b"Z0," + place, b"OK")
        if not (remote.ask(b"c") or b"").startswith(b"T05"):  # the guest died of it, or never met it
            return step, None
        began = time.monotonic()
        for _ in range(HITS):
            if remote.address() != address:
                raise Failure(f"gdb: stopped elsewhere than at the breakpoint at {address:#x}")
            remote.expect(b"z0," + place, b"OK")
            remote.expect(b"s", b"T05")
            remote.expect(b"Z0," + place, b"OK")
            remote.expect(b"c", b"T05")
        return step, (time.monotonic() - began) / HITS
    finally:
        run.kill()


def measure(rounds):
    kernel = payloads.exits(FOR_EVER)
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: os.path.join(folder, name) for name in ("vmm", "QEMU")}
        commands = {
            "vmm": vmm(kernel, extra=["--gdb", f"unix:{paths['vmm']}"]),
            "QEMU": qemu(MICROVM, kernel=kernel, extra=["-gdb", f"unix:{paths['QEMU']},server=on,wait=off"])}
        took = {name: [] for name in commands}
        for turn in turns(rounds + 1, SECONDS, 2):
            for name, command in commands.items():
                found = one(command, paths[name])
                if turn > 0:  # the first round warms the page cache
                    took[name].append(found)
    say(f"gdb: {len(took['vmm'])} rounds done")

    def times(name, which):
        return [found[which] * 1e6 for found in took[name] if found[which] is not None]

    rows = [row("a step", "us", times("vmm", 0), times("QEMU", 0), ratio_at_most=1)]
    if len(times("vmm", 1)) == len(times("QEMU", 1)) == len(took["vmm"]):
        rows.append(row("a breakpoint's hit, and on", "us", times("vmm", 1), times("QEMU", 1), ratio_at_most=1))
    else:
        say("gdb: the CPU here does not stop at a guest's breakpoints: those were not measured")
    yield {"rows": rows}
