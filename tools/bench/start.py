"""start: from exec to the guest's first instruction with a tiny payload, on this machine's own /dev/kvm, or in the lab.

The payload's first instructions write a byte to COM1, and the clock stops when that byte arrives here. Of QEMU's
microvm that is taken twice: with the payload as its firmware, whose reset vector is its very first instruction, and
as its kernel, behind the firmware that QEMU brings. Memory is looked at while the guest halts.
"""

import payloads
from measure import Run, memory, row, say, turns
from monitors import MICROVM, qemu, vmm

SECONDS = 120  # for all rounds
MEM = 256
SAID = {"first": "!"}


def one(command):
    run = Run(command, SAID)
    if not run.finish(30) or "first" not in run.times:
        run.fail("the payload did not run")
    return run


def held(command):
    run = Run(command, SAID)
    if not run.watch(30, "first"):
        run.fail("the payload did not run")
    found = memory(run.pid, MEM << 20)
    run.kill()
    return found


def commands(hold=False):
    elf, rom = payloads.first("elf", hold), payloads.first("rom", hold)
    return {"vmm": vmm(elf, MEM), "rom": qemu(MICROVM, MEM, extra=["-bios", rom]),
            "kernel": qemu(MICROVM, MEM, kernel=elf)}


def measure(rounds):
    monitors = commands()
    runs = {name: [] for name in monitors}
    for turn in turns(rounds + 1, SECONDS, 2):
        for name, command in monitors.items():
            run = one(command)
            if turn > 0:  # the first round warms the page cache
                runs[name].append(run)
    say(f"start: {len(runs['vmm'])} rounds done")

    def times(name, mark="first"):
        return [run.times[mark] * 1e3 for run in runs[name]]

    def cpu(name):
        return [run.cpu * 1e3 for run in runs[name]]

    rows = [
        row("exec to first instruction, QEMU microvm with the payload as firmware", "ms", times("vmm"), times("rom"),
            ratio_at_most=0.25),
        row("exec to first instruction, QEMU microvm with the payload as kernel", "ms", times("vmm"), times("kernel"),
            ratio_at_most=0.25),
        row("exec to exit", "ms", times("vmm", "end"), times("rom", "end")),
        row("CPU time, the end included", "ms", cpu("vmm"), cpu("rom"), ours_at_most=10),
    ]
    holds = {name: [held(command) for _ in range(3)] for name, command in commands(hold=True).items() if name != "kernel"}

    def sizes(name, which):
        return [found[which] / (1 << 20) for found in holds[name]]

    rows.append(row("resident beside the guest's RAM", "MiB", sizes("vmm", 0), sizes("rom", 0), ours_at_most=5))
    rows.append(row("of that, private", "MiB", sizes("vmm", 1), sizes("rom", 1)))
    yield {"rows": rows}
