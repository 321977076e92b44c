"""boot: the small kernel from exec to the first line of user space (`tiny: ready`), in the lab, and its timeline.

All monitors take turns within one lab session, with the same kernel, command line, memory, processor and disk (a copy
each, in memory). QEMU's q35 is started as its users do, with SeaBIOS and bzImage, and by PVH with vmlinux, as microvm
is; vmm with both. When the first instruction comes is taken apart, with the payload of `start` as firmware or kernel.
"""

import os
import shutil

import payloads
import start
from measure import Run, row, say, spread, turns
from monitors import MICROVM, qemu, vmm

IN_LAB = True
SECONDS = 240  # for all rounds
LIMIT = 60  # for one guest; one or two where nothing else runs
MEM = 512
APPEND = 'tiny.run=":"'
FULL = f"console=ttyS0 root=/dev/vda rw {APPEND}"  # vmm has the first part by default
MARKS = {"kernel's first line": r"Linux version", "init": r"Run /\S*init as init", "tiny: ready": r"tiny: ready"}
READY = "tiny: ready"


def commands(kernel, disk):
    """Each monitor's command line, given the folder of the kernel and a function that copies the disk."""
    bz, elf = f"{kernel}/bzImage", f"{kernel}/vmlinux"
    return {
        "vmm, bzImage": vmm(bz, MEM, disks=[disk("vmm")], append=APPEND),
        "QEMU q35, bzImage": qemu("q35", MEM, disks=[disk("q35")], kernel=bz, append=FULL),
        "vmm, vmlinux": vmm(elf, MEM, disks=[disk("vmm")], append=APPEND),
        "QEMU microvm, vmlinux": qemu(f"{MICROVM},pcie=on,rtc=on", MEM, disks=[disk("microvm")], kernel=elf, append=FULL),
        "QEMU q35, vmlinux": qemu("q35", MEM, disks=[disk("q35")], kernel=elf, append=FULL),
    }


def measure(rounds):
    kernel, tiny = os.environ["VMM_IMAGES_KERNEL"], os.environ["VMM_IMAGES_TINY"]

    def disk(name):
        path = f"/dev/shm/{name}.img"
        if not os.path.exists(path):
            shutil.copyfile(f"{tiny}/rootfs.img", path)
        return path

    # These come first, as they also bring the monitors into the page cache; the kernels follow.
    rom, elf = payloads.first("rom"), payloads.first("elf")
    firsts = {"vmm": vmm(elf, MEM), "QEMU q35": qemu("q35", MEM, extra=["-bios", rom]),
              "QEMU microvm": qemu(MICROVM, MEM, extra=["-bios", rom])}
    first = {name: [start.one(command).times["first"] for _ in range(4)][1:] for name, command in firsts.items()}
    for file in ("bzImage", "vmlinux"):
        shutil.copyfile(f"{kernel}/{file}", f"/dev/shm/{file}")

    monitors = commands("/dev/shm", disk)
    runs = {name: [] for name in monitors}
    for turn in turns(rounds, SECONDS):
        for name, command in monitors.items():
            run = Run(command, MARKS)
            if not run.watch(LIMIT, READY):
                run.fail(f"the guest did not come up within {LIMIT} s")
            say(f"boot, round {turn + 1}: {name}: ready after {run.times[READY]:.2f} s")
            if not run.finish(6):
                del run.times["end"]  # QEMU's microvm may not notice that its guest powered off
            runs[name].append(run)
        yield results(first, runs)


def results(first, runs):
    timeline = {}
    for name, done in runs.items():
        marks = {"first instruction": spread(first[name.split(",")[0]])}
        for mark in [*MARKS, "end"]:
            seen = [run.times[mark] for run in done if mark in run.times]
            if seen:
                marks[mark] = spread(seen)
        timeline[name] = marks

    def ready(name):
        return [run.times[READY] for run in runs[name]]

    def pair(ours, theirs, bound):
        return row(f"exec to `tiny: ready`, {ours} against {theirs}", "s", ready(ours), ready(theirs),
                   ratio_at_most=bound)

    return {"rows": [pair("vmm, bzImage", "QEMU q35, bzImage", 0.7), pair("vmm, vmlinux", "QEMU q35, vmlinux", 0.7),
                     pair("vmm, vmlinux", "QEMU microvm, vmlinux", 0.9)],
            "timeline": timeline}
