"""device: what the model of virtio-blk does by itself, on this machine's own /dev/kvm.

The payload blkload (tests/payload) drives one disk from CPL 3, where even a KVM that interprets kernel code runs it at
native speed, and polls for what is done, so neither a guest kernel nor interrupts are in it. The image is in memory.
QEMU has an I/O thread and io_uring. CPU is that of all threads but the vCPU, and of the kernel's workers for them.
"""

import os
import time

from measure import Run, row, thread_cpu
from monitors import ROOT, qemu, vmm

PAYLOAD = os.environ.get("VMM_BLKLOAD", f"{ROOT}/build/tests/payload/blkload.elf")
SIZE = 256 << 20
MEM = 256
VCPU = r"^vcpu|^CPU \d"
LOADS = {  # what: arguments, requests
    "read 4 KiB, depth 1": ("op=read depth=1 order=random", 20000),
    "read 4 KiB, depth 32": ("op=read depth=32 order=random", 100000),
    "write 4 KiB, depth 32": ("op=write depth=32 order=random", 100000),
    "read 128 KiB, depth 8": ("op=read depth=8 size=131072", 10000),
}


def image():
    """256 MiB without holes, in memory."""
    path = f"/dev/shm/vmm-bench-{os.getpid()}.img"
    with open(path, "wb") as file:
        block = os.urandom(1 << 20)
        for _ in range(SIZE >> 20):
            file.write(block)
    return path


class Load:
    """One run of blkload: requests per second, and seconds of CPU of the device model per request.

    The payload's end is the monitor's, so threads are looked at while it runs, and their rate over that time counts.
    """

    def __init__(self, command, requests):
        run = Run(command, {"start": r"blkload: start", "done": r"blkload: \d+ requests.* 0 failed"})
        if not run.watch(60, "start"):
            run.fail("the payload did not start")
        samples = []
        while not run.watch(0.02, "done") and "end" not in run.times:
            samples.append((time.monotonic(), thread_cpu(run.pid, f"^(?!{VCPU})") if "end" not in run.times else 0))
        if "done" not in run.times or len(samples) < 3:
            run.fail("the payload failed, or was done too soon")
        run.finish(10)
        self.rate = requests / (run.times["done"] - run.times["start"])
        (begin, before), (end, after) = samples[0], samples[-1]
        self.cpu = (after - before) / (end - begin) / self.rate


def measure(rounds):
    disk = image()
    try:
        rows = []
        for what, (arguments, requests) in LOADS.items():
            append = f"{arguments} count={requests}"
            commands = [vmm(PAYLOAD, MEM, disks=[disk], append=append, extra=["--no-rng"]),
                        qemu("q35", MEM, disks=[disk], kernel=PAYLOAD, append=append,
                             extra=["-name", "bench,debug-threads=on"])]
            pairs = [[Load(command, requests) for command in commands] for _ in range(rounds)]
            rows.append(row(f"{what}, rate", "1/s", *[[pair[i].rate for pair in pairs] for i in (0, 1)],
                            ratio_at_least=1))
            rows.append(row(f"{what}, CPU per request", "µs", *[[pair[i].cpu * 1e6 for pair in pairs] for i in (0, 1)],
                            ratio_at_most=1))
    finally:
        os.unlink(disk)
    return {"rows": rows}
