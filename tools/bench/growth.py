"""growth: start-up time and memory with more vCPUs and more disks, which should grow by a constant for each.

The payload of `start`, where `start` runs it, vmm alone, the sizes taking turns. Printed are the values at each
count and, fitted by least squares, the increment for one more, overall and for each step.
"""

import os

import payloads
import start
from measure import row, say, turns
from monitors import vmm

SECONDS = 60  # for each of the two
CPUS = (1, 2, 4, 8)
DISKS = (1, 8, 24)


def slope(points):
    """What y grows by for one more x, by least squares."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def sweep(what, counts, command, rounds):
    """Rows for one kind of device; `command` makes the command line for a count and a payload."""
    elf, hold = payloads.first("elf"), payloads.first("elf", hold=True)
    times = {count: [] for count in counts}
    cpu = {count: [] for count in counts}
    held = {count: [] for count in counts}
    for turn in turns(rounds + 1, SECONDS, 2):
        for count in counts:
            run, memory = start.one(command(count, elf)), start.held(command(count, hold))[0]
            if turn > 0:
                times[count].append(run.times["first"] * 1e3)
                cpu[count].append(run.cpu * 1e3)
                held[count].append(memory / (1 << 20))
    rounds = len(times[counts[0]])
    say(f"growth: {what}: {rounds} rounds done")
    rows = []
    for name, unit, values in (("exec to first instruction", "ms", times), ("CPU time", "ms", cpu),
                               ("resident beside the guest's RAM", "MiB", held)):
        rows += [row(f"{name}, {count} {what}", unit, values[count]) for count in counts]
        slopes = [slope([(count, values[count][i]) for count in counts]) for i in range(rounds)]
        rows.append(row(f"{name}, for one more of the {what}", unit, slopes))
        steps = [[(values[b][i] - values[a][i]) / (b - a) for i in range(rounds)] for a, b in zip(counts, counts[1:])]
        for (a, b), step in zip(zip(counts, counts[1:]), steps):
            rows.append(row(f"{name}, for one more from {a} to {b}", unit, step))
    return rows


def measure(rounds):
    paths = [f"/dev/shm/vmm-bench-{os.getpid()}-{i}.img" for i in range(max(DISKS))]
    try:
        for path in paths:
            with open(path, "wb") as file:
                file.truncate(16 << 20)
        yield {"rows": sweep("vCPUs", CPUS, lambda count, elf: vmm(elf, start.MEM, cpus=count), rounds) +
               sweep("disks", DISKS, lambda count, elf: vmm(elf, start.MEM, disks=paths[:count]), rounds)}
    finally:
        for path in paths:
            if os.path.exists(path):
                os.unlink(path)
