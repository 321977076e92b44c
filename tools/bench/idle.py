"""idle: how often an idle machine wakes its monitor, in the lab, vmm against QEMU with the same kernel.

Both run all the time, with a disk and a random number generator, and their guest's shell waits for input. A wake-up is a
thread that had gone to sleep by itself and runs again, as Linux counts it. What vCPUs do is the guest's timers.
"""

import os
import shutil
import time

from measure import Run, row, say, thread_wakeups, turns
from monitors import qemu, vmm

IN_LAB = True
SECONDS = 150  # for all rounds
LIMIT = 60  # for a guest to come up
MEM = 256
WINDOW = 10
VCPU, OTHERS = r"^(vcpu|CPU )", r"^(?!vcpu|CPU )"


def measure(rounds):
    kernel, initrd = "/dev/shm/bzImage", "/dev/shm/initramfs.cpio.gz"
    shutil.copyfile(f"{os.environ['VMM_IMAGES_KERNEL']}/bzImage", kernel)
    shutil.copyfile(f"{os.environ['VMM_IMAGES_TINY']}/initramfs.cpio.gz", initrd)
    disks = ["/dev/shm/vmm.img", "/dev/shm/qemu.img"]
    for disk in disks:
        with open(disk, "wb") as file:
            file.truncate(64 << 20)
    commands = (vmm(kernel, MEM, disks=disks[:1], extra=["--initrd", initrd]),
                qemu("q35", MEM, disks=disks[1:], kernel=kernel, append="console=ttyS0",
                     extra=["-initrd", initrd, "-device", "virtio-rng-pci", "-name", "idle,debug-threads=on"]))
    runs = []
    for command in commands:
        run = Run(command, {"ready": r"tiny: ready"}, typed=True)
        if not run.watch(LIMIT, "ready"):
            run.fail(f"the guest did not come up within {LIMIT} s")
        runs.append(run)
    time.sleep(WINDOW)  # until both have settled
    counts = {VCPU: ([], []), OTHERS: ([], [])}
    for turn in turns(rounds, SECONDS):
        before = [[thread_wakeups(run.pid, name) for run in runs] for name in counts]
        time.sleep(WINDOW)
        for name, then in zip(counts, before):
            for taken, run, count in zip(counts[name], runs, then):
                taken.append((thread_wakeups(run.pid, name) - count) / WINDOW)
        say(f"idle, round {turn + 1}: {counts[OTHERS][0][-1]:.1f} and {counts[OTHERS][1][-1]:.1f} a second")
        yield {"rows": [row("wake-ups of an idle machine's monitor", "1/s", *counts[OTHERS], ours_at_most=1),
                        row("wake-ups of its vCPU", "1/s", *counts[VCPU])]}
    for run in runs:
        run.kill()
