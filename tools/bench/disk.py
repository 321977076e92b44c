"""disk: fio in a guest with the small kernel, in the lab, vmm's virtio-blk against QEMU's with io_uring and an I/O thread.

The guest is the tiny one with fio added; the disk it measures is a file in memory, without holes, one each. Both
monitors run all the time, and take turns at one short job after the other, told over the console: what the host is busy
with changes within seconds, and so does a lab's speed. Times are emulated: only the ratios mean something. What fio
writes with checksums and reads back is a row of its own, of errors.
"""

import os
import re
import shutil

import guests
from guests import MEM, Guest
from measure import row, say, turns
from monitors import qemu, vmm

IN_LAB = True
SECONDS = 360  # for all rounds
SIZE = 64 << 20
JOB_SECONDS = 2
JOBS = {
    "random read 4 KiB, depth 1": "--rw=randread --bs=4k --iodepth=1",
    "random read 4 KiB, depth 32": "--rw=randread --bs=4k --iodepth=32",
    "random write 4 KiB, depth 1": "--rw=randwrite --bs=4k --iodepth=1",
    "random write 4 KiB, depth 32": "--rw=randwrite --bs=4k --iodepth=32",
    "sequential read 1 MiB": "--rw=read --bs=1M --iodepth=2",
    "sequential write 1 MiB": "--rw=write --bs=1M --iodepth=2",
}
FIO = "fio --minimal --terse-version=3 --filename=/dev/vdb --direct=1 --ioengine=io_uring --thread --clocksource=clock_gettime"
TIMED = f"--time_based --runtime={JOB_SECONDS}"
VERIFY = "--rw=randwrite --bs=4k --iodepth=32 --size=4M --verify=crc32c --do_verify=1 --verify_fatal=1"
READ_IOPS, WRITE_IOPS, ERROR = 7, 48, 4  # fields of terse version 3


def prepare():
    guests.make_root_disk("fio")


def fio(guest, options):
    """Its line of results, as fields."""
    said = guest.ask(f"{FIO} --name=job {options}")
    found = re.search(r"^3;.*$", said, re.M)
    if not found:
        guest.run.fail("fio did not say what it did")
    return found[0].split(";")


def rate(guest, options):
    """Requests per second."""
    fields = fio(guest, f"{options} {TIMED}")
    if fields[ERROR] != "0":
        guest.run.fail("fio failed")
    return float(fields[READ_IOPS]) + float(fields[WRITE_IOPS])


def measure(rounds):
    kernel = "/dev/shm/vmlinux"
    shutil.copyfile(f"{os.environ['VMM_IMAGES_KERNEL']}/vmlinux", kernel)

    def disks(name):
        root, data = f"/dev/shm/{name}-root.img", f"/dev/shm/{name}-data.img"
        shutil.copyfile(guests.root_disk("fio"), root)
        with open(data, "wb") as file:
            for _ in range(SIZE >> 20):
                file.write(b"\xa5" * (1 << 20))
        return [root, data]

    ours = Guest("disk: vmm", vmm(kernel, MEM, disks=disks("vmm"), append=Guest.append))
    theirs = Guest("disk: QEMU", qemu("q35", MEM, disks=disks("qemu"), kernel=kernel, append=Guest.full_append))
    rates, errors = {job: ([], []) for job in JOBS}, []
    for turn in turns(rounds, SECONDS):
        for job, options in JOBS.items():
            for guest, taken in zip((ours, theirs), rates[job]):
                taken.append(rate(guest, options))
            say(f"disk, round {turn + 1}: {job}: {rates[job][0][-1]:.0f} and {rates[job][1][-1]:.0f} a second")
        errors.append(float(fio(ours, VERIFY)[ERROR]))
        yield results(rates, errors)
    for guest in (ours, theirs):
        guest.run.kill()


def results(rates, errors):
    rows = [row(job, "1/s", *taken, ratio_at_least=1) for job, taken in rates.items()]
    rows.append(row("errors of random writes verified by crc32c", "", errors, ours_at_most=0))
    return {"rows": rows}
