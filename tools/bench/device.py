"""device: what the model of virtio-blk does by itself, on this machine's own /dev/kvm, or in the lab if there is none.

The payload blkload (tests/payload) drives one disk, built for 64 bits and at CPL 3, where even a KVM that interprets
kernel code runs it at native speed. It polls for what is done, so neither a guest kernel nor interrupts are in it. The
image is in the page cache, of a file system that answers io_uring at once, where there is one: a tmpfs does not, and
then it is the kernel's workers that are measured. QEMU has an I/O thread and io_uring. CPU is that of all threads but the vCPU, and of the kernel's
workers for them. In the lab, whose one CPU the vCPU shares with the device model, the rate is of both.
"""

import os
import time

import payloads
from measure import Run, row, say, thread_cpu, turns
from monitors import INSIDE_LAB, qemu, vmm

SECONDS = 150  # for all rounds
LIMIT = 60  # for one run
SIZE = 64 << 20
MEM = 256
VCPU = r"^vcpu|^CPU \d"
LOADS = {  # what: arguments, requests
    "read 4 KiB, depth 1": ("op=read depth=1 order=random", 40000),
    "read 4 KiB, depth 32": ("op=read depth=32 order=random", 200000),
    "write 4 KiB, depth 1": ("op=write depth=1 order=random", 40000),
    "write 4 KiB, depth 32": ("op=write depth=32 order=random", 200000),
    "read 128 KiB, depth 8": ("op=read depth=8 size=131072", 20000),
}
SLOWER = 20 if INSIDE_LAB else 1  # how much the lab is, about
SAMPLE = 0.02 if not INSIDE_LAB else 0.05  # seconds


def image():
    """64 MiB without holes, soon in the page cache."""
    path = f"{'/dev/shm' if INSIDE_LAB else payloads.OUT}/vmm-bench-{os.getpid()}.img"
    with open(path, "wb") as file:
        for _ in range(SIZE >> 20):
            file.write(b"\xa5" * (1 << 20))
    return path


class Load:
    """One run of blkload or netload: requests or frames per second, and seconds of CPU of the device model for each.

    The payload's end is the monitor's, so threads are looked at while it runs, and their rate over that time counts.
    """

    def __init__(self, payload, command, requests):
        run = Run(command, {"start": rf"{payload}: start", "done": rf"{payload}: \d+ .* 0 (failed|lost)"})
        if not run.watch(LIMIT, "start"):
            run.fail("the payload did not start")
        samples, threads = [], {}  # a worker that ends keeps what it took
        while not run.watch(SAMPLE, "done") and "end" not in run.times and run.age < LIMIT:
            threads.update(thread_cpu(run.pid, f"^(?!{VCPU})"))
            samples.append((time.monotonic(), sum(threads.values())))
        if "done" not in run.times or len(samples) < 2:
            run.fail(f"the payload failed, or took less than {3 * SAMPLE:g} s, or more than {LIMIT} s")
        run.finish(10)
        self.rate = requests / (run.times["done"] - run.times["start"])
        (begin, before), (end, after) = samples[0], samples[-1]
        self.cpu = (after - before) / (end - begin) / self.rate


def measure(rounds):
    payload, disk = payloads.load("blkload"), image()

    def command(monitor, what):
        arguments, requests = LOADS[what]
        append = f"{arguments} count={requests // SLOWER}"
        if monitor == "vmm":
            return vmm(payload, MEM, disks=[disk], append=append, extra=["--no-rng"])
        return qemu("q35", MEM, disks=[disk], kernel=payload, append=append, extra=["-name", "bench,debug-threads=on"])

    loads = {what: {"vmm": [], "QEMU": []} for what in LOADS}
    try:
        for turn in turns(rounds, SECONDS):
            for what, (_, requests) in LOADS.items():
                for monitor, done in loads[what].items():
                    done.append(Load("blkload", command(monitor, what), requests // SLOWER))
                say(f"device, round {turn + 1}: {what}: vmm {loads[what]['vmm'][-1].rate:.0f}/s, "
                    f"QEMU {loads[what]['QEMU'][-1].rate:.0f}/s")
            yield results(loads)
    finally:
        os.unlink(disk)


def results(loads):
    rows = []
    for what, done in loads.items():
        rows.append(row(f"{what}, rate", "1/s", *[[load.rate for load in of] for of in done.values()],
                        ratio_at_least=1))
        rows.append(row(f"{what}, CPU per request", "µs", *[[load.cpu * 1e6 for load in of] for of in done.values()],
                        ratio_at_most=1))
    return {"rows": rows}
