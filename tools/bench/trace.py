"""trace: what an exit costs with --trace and without, on this machine's own /dev/kvm, or in the lab if there is none.

A payload reads the serial line's status over and over, which is about the cheapest exit there is. Counted is the CPU
time of the vCPU's thread, by the scheduler, from its start to the payload's end: guest, KVM and vmm. Both are vmm.
"""

import payloads
from measure import Run, row, say, thread_cpu, turns
from monitors import INSIDE_LAB, vmm

SECONDS = 120  # for all rounds
COUNT = 20_000 if INSIDE_LAB else 100_000
SAID = {"end": "~"}


def one(command):
    run = Run(command, SAID)
    if not run.watch(60, "end"):
        run.fail("the payload did not come to its end")
    spent = sum(thread_cpu(run.pid, r"^vcpu").values())
    run.kill()
    return spent / COUNT * 1e6


def measure(rounds):
    kernel = payloads.exits(COUNT)
    plain, traced = vmm(kernel, extra=["--hang-timeout", "none"]), vmm(kernel, extra=["--hang-timeout", "none"])
    traced += ["--trace", "/dev/null"]
    costs = {"traced": [], "plain": []}
    for turn in turns(rounds + 1, SECONDS, 2):
        for name, command in (("traced", traced), ("plain", plain)):
            cost = one(command)
            if turn > 0:  # the first round warms the page cache
                costs[name].append(cost)
    say(f"trace: {len(costs['plain'])} rounds done")
    yield {"rows": [row("CPU of an exit, with --trace against without", "us", costs["traced"], costs["plain"],
                        ratio_at_most=1.05)]}
