"""packets: what the model of virtio-net does by itself, on this machine's own /dev/kvm, or in the lab if there is none.

The payload netload (tests/payload) sends frames to a tap, or pings this host through it, built for 64 bits and at CPL 3,
where even a KVM that interprets kernel code runs it at native speed. It polls, so neither a guest kernel nor interrupts are
in it; what the host's network does with a frame is, on either side. Each run has a network namespace of its own, which
takes no privileges. QEMU is without vhost. CPU is that of all threads but the vCPU. In the lab, whose one CPU the vCPU
shares with the device model, the rate is of both.
"""

import payloads
from device import Load
from measure import row, say, turns
from monitors import INSIDE_LAB, qemu, vmm

SECONDS = 150  # for all rounds
MEM = 256
LOADS = {  # what: arguments, frames
    "send 64 B, depth 1": ("op=send depth=1 size=64", 100000),
    "send 64 B, depth 32": ("op=send depth=32 size=64", 400000),
    "send 1514 B, depth 32": ("op=send depth=32 size=1514", 400000),
    "echo 64 B, depth 1": ("op=echo depth=1 size=64", 60000),
    "echo 64 B, depth 32": ("op=echo depth=32 size=64", 200000),
}
SLOWER = 20 if INSIDE_LAB else 1  # how much the lab is, about
# Before the monitor, in a namespace: the tap, and who the payload is.
SETUP = """
ip link set lo up
ip tuntap add tap0 mode tap vnet_hdr
ip link set tap0 address 02:00:00:00:00:01 up
ip addr add 10.9.0.1/24 dev tap0
ip neigh replace 10.9.0.2 lladdr 02:00:00:00:00:02 nud permanent dev tap0
exec "$@"
"""
MAC = "02:00:00:00:00:02"


def in_namespace(command):
    return ["/usr/bin/unshare", "--user", "--map-root-user", "--net", "/bin/sh", "-ec", SETUP, "sh", *command]


def measure(rounds):
    payload = payloads.load("netload")

    def command(monitor, what):
        arguments, frames = LOADS[what]
        append = f"{arguments} count={frames // SLOWER}"
        if monitor == "vmm":
            return vmm(payload, MEM, append=append, extra=["--no-rng", "--net", f"tap=tap0,mac={MAC}"])
        return qemu("q35", MEM, kernel=payload, append=append, extra=[
            "-name", "bench,debug-threads=on", "-netdev", "tap,id=net0,ifname=tap0,script=no,downscript=no,vhost=off",
            "-device", f"virtio-net-pci,netdev=net0,mac={MAC},disable-legacy=on,romfile="])

    loads = {what: {"vmm": [], "QEMU": []} for what in LOADS}
    for turn in turns(rounds, SECONDS):
        for what, (_, frames) in LOADS.items():
            for monitor, done in loads[what].items():
                done.append(Load("netload", in_namespace(command(monitor, what)), frames // SLOWER))
            say(f"packets, round {turn + 1}: {what}: vmm {loads[what]['vmm'][-1].rate:.0f}/s, "
                f"QEMU {loads[what]['QEMU'][-1].rate:.0f}/s")
        yield results(loads)


def results(loads):
    rows = []
    for what, done in loads.items():
        rows.append(row(f"{what}, rate", "1/s", *[[load.rate for load in of] for of in done.values()], ratio_at_least=1))
        rows.append(row(f"{what}, CPU per packet", "µs", *[[load.cpu * 1e6 for load in of] for of in done.values()],
                        ratio_at_most=1))
    return {"rows": rows}
