"""net: iperf3 between a guest with the small kernel and the host of the lab, vmm's virtio-net against QEMU's without vhost.

Over a tap each: one and four streams, both ways, and the time of a request and its response (ping). Through the
rootless network: vmm's `--net user` against QEMU with a passt of its own, started with the same options. The guests
stay up and take turns by the job. Times are emulated: only the ratios mean something.
"""

import os
import re
import shutil
import subprocess
import time

import guests
from guests import MEM, Guest
from measure import Failure, row, say, turns
from monitors import qemu, vmm

IN_LAB = True
SECONDS = 300  # for all rounds
JOB_SECONDS = 2
PINGS = 100
STREAMS = {
    "tap, guest to host": "",
    "tap, host to guest": "-R",
    "tap, guest to host, 4 streams": "-P 4",
    "tap, host to guest, 4 streams": "-P 4 -R",
}
USER = {"user, guest to host": "", "user, host to guest": "-R"}
ROUND_TRIP = "tap, request and response"
PASST = "/dev/shm/passt.socket"


def prepare():
    guests.make_root_disk("iperf3")


def host(*commands):
    for command in commands:
        if subprocess.run(command, shell=True, stdout=subprocess.DEVNULL).returncode:
            raise Failure(f"net: `{command}` failed")


def start(name, monitor, kernel, number, tap, **options):
    """A guest of `monitor` with a network; `number` tells its addresses from the other's."""
    disk = f"/dev/shm/net-{number}.img"
    shutil.copyfile(guests.root_disk("iperf3"), disk)
    append = Guest.append if monitor is vmm else Guest.full_append
    words = {"kernel": kernel} if monitor is vmm else {"machine": "q35", "kernel": kernel}
    guest = Guest(f"net: {name}", monitor(**words, mem=MEM, disks=[disk], append=append, **options))
    if tap:
        guest.ask(f"ip link set eth0 up && ip addr add 192.168.{number}.2/24 dev eth0")
        guest.server = f"192.168.{number}.1"
    else:
        guest.ask("ip link set eth0 up && ip addr add 10.0.2.15/24 dev eth0 && ip route add default via 10.0.2.2")
        guest.server = "10.0.2.2"
    return guest


def make_tap(number):
    name = f"bench{number}"
    host(f"ip tuntap add {name} mode tap vnet_hdr", f"ip addr add 192.168.{number}.1/24 dev {name}", f"ip link set {name} up")
    return name


def rate(guest, options):
    """Megabits per second, as the receiver counts them."""
    said = guest.ask(f"iperf3 -c {guest.server} -t {JOB_SECONDS} -f m {options} | grep receiver")
    found = re.findall(r"([\d.]+) Mbits/sec", said)
    if not found:
        guest.run.fail("iperf3 did not say what it did")
    return float(found[-1])  # of several streams the sum comes last


def round_trip(guest, number):
    """Milliseconds."""
    ping = subprocess.run(["ping", "-q", "-c", str(PINGS), "-i", "0.01", f"192.168.{number}.2"], stdout=subprocess.PIPE, text=True)
    found = re.search(r"= [\d.]+/([\d.]+)/", ping.stdout)
    if ping.returncode or not found:
        guest.run.fail("the guest does not answer a ping")
    return float(found[1])


def measure(rounds):
    kernel = "/dev/shm/vmlinux"
    shutil.copyfile(f"{os.environ['VMM_IMAGES_KERNEL']}/vmlinux", kernel)
    with subprocess.Popen(["iperf3", "-s"], stdout=subprocess.DEVNULL) as server:
        try:
            yield from measure_against(server, kernel, rounds)
        finally:
            server.kill()


def card(netdev):
    return ["-netdev", netdev, "-device", "virtio-net-pci,netdev=net0,disable-legacy=on,romfile="]


def measure_against(server, kernel, rounds):
    taps = [start("vmm", vmm, kernel, 61, True, extra=["--net", f"tap={make_tap(61)}"]),
            start("QEMU", qemu, kernel, 62, True,
                  extra=card(f"tap,id=net0,ifname={make_tap(62)},script=no,downscript=no,vhost=off"))]
    # Its own options, so that both guests have the same addresses and helper.
    passt = subprocess.Popen(["passt", "--quiet", "--foreground", "--socket", PASST, "--address", "10.0.2.15", "--netmask", "24",
                              "--gateway", "10.0.2.2", "--mac-addr", "52:55:0a:00:02:02", "--dns-forward", "10.0.2.3",
                              "--interface", "lo"], stderr=subprocess.DEVNULL)
    while not os.path.exists(PASST) and passt.poll() is None:
        time.sleep(0.05)
    users = [start("vmm, user", vmm, kernel, 63, False, extra=["--net", "user"]),
             start("QEMU, user", qemu, kernel, 64, False,
                   extra=card(f"stream,id=net0,server=off,addr.type=unix,addr.path={PASST}"))]
    rates = {job: ([], []) for job in [*STREAMS, *USER]}
    times = ([], [])
    for turn in turns(rounds, SECONDS):
        if server.poll() is not None:
            raise Failure("net: iperf3's server ended")
        for job, options in {**STREAMS, **USER}.items():
            for guest, taken in zip(users if job in USER else taps, rates[job]):
                taken.append(rate(guest, options))
            say(f"net, round {turn + 1}: {job}: {rates[job][0][-1]:.0f} and {rates[job][1][-1]:.0f} Mbit/s")
        for guest, number, taken in zip(taps, (61, 62), times):
            taken.append(round_trip(guest, number))
        yield results(rates, times)
    for guest in taps + users:
        guest.run.kill()
    passt.kill()


def results(rates, times):
    rows = [row(job, "Mbit/s", *taken, ratio_at_least=0.9 if job in USER else 1) for job, taken in rates.items()]
    rows.append(row(ROUND_TRIP, "ms", *times, ratio_at_most=1))
    return {"rows": rows}
