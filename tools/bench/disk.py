"""disk: fio in a guest with the small kernel, in the lab, vmm's virtio-blk against QEMU's with io_uring and an I/O thread.

The guest is the tiny one with fio added; the disk it measures is a file in memory, without holes, one each. Both
monitors run all the time, and take turns at one short job after the other, told over the console: what the host is busy
with changes within seconds, and so does a lab's speed. Times are emulated: only the ratios mean something. What fio
writes with checksums and reads back is a row of its own, of errors.
"""

import os
import re
import shutil
import subprocess
import tempfile

from measure import Failure, Run, row, say, turns
from monitors import qemu, vmm
from payloads import OUT

IN_LAB = True
SECONDS = 360  # for all rounds
LIMIT = 120  # for one guest to come up, and for one job; a few where nothing else runs
MEM = 512
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
# Each line that is typed is a name and fio's options.
SERVER = f"""echo "disk: ready"
while read -r name options; do
  {FIO} --name="$name" $options
  echo "disk: $name done"
done
"""
READ_IOPS, WRITE_IOPS, ERROR = 7, 48, 4  # fields of terse version 3
ROOT_DISK = f"{OUT}/fio-root.img"


def prepare():
    """The root disk, made outside the lab: the tiny guest, this host's fio with its libraries, and a script that runs it."""
    fio = shutil.which("fio")
    if not fio:
        raise Failure("no fio here\n  fix: apt-get install fio")
    needed = subprocess.run(["ldd", fio], stdout=subprocess.PIPE, text=True, check=True).stdout
    libraries = re.findall(r"(/\S+)", needed)
    os.makedirs(OUT, exist_ok=True)
    with tempfile.TemporaryDirectory() as root:
        archive = f"{os.environ['VMM_IMAGES_TINY']}/initramfs.cpio.gz"
        subprocess.run(f"zcat {archive} | cpio -idm --quiet", shell=True, cwd=root, check=True)
        for file in [fio, *libraries]:
            os.makedirs(os.path.dirname(root + file), exist_ok=True)
            shutil.copy(file, root + file)
        os.makedirs(f"{root}/sbin", exist_ok=True)
        if os.path.lexists(f"{root}/sbin/init"):
            os.unlink(f"{root}/sbin/init")
        os.symlink("../init", f"{root}/sbin/init")
        with open(f"{root}/server.sh", "w") as script:
            script.write(SERVER)
        subprocess.run(["/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", root,
                        ROOT_DISK, "192M"], check=True)


class Guest:
    """One that runs fio as it is told."""

    def __init__(self, name, command):
        self.name, self.asked = name, 0
        self.run = Run(command, {"ready": r"disk: ready"}, typed=True)
        if not self.run.watch(LIMIT, "ready"):
            self.run.fail(f"the guest did not come up within {LIMIT} s")
        say(f"disk: {name}: ready after {self.run.times['ready']:.1f} s")

    def fio(self, options):
        """Its line of results, as fields."""
        self.asked += 1
        job = f"job{self.asked}"
        self.run.expect(job, f"disk: {job} done")
        self.run.type(f"{job} {options}\n")
        if not self.run.watch(LIMIT, job):
            self.run.fail(f"fio did not come to its end within {LIMIT} s")
        found = re.search(rf"^(3;[^;]*;{job};.*?)\r?$", self.run.output.decode(errors="replace"), re.M)
        if not found:
            self.run.fail("fio did not say what it did")
        return found[1].split(";")

    def rate(self, options):
        """Requests per second."""
        fields = self.fio(f"{options} {TIMED}")
        if fields[ERROR] != "0":
            self.run.fail("fio failed")
        return float(fields[READ_IOPS]) + float(fields[WRITE_IOPS])


def measure(rounds):
    kernel = "/dev/shm/vmlinux"
    shutil.copyfile(f"{os.environ['VMM_IMAGES_KERNEL']}/vmlinux", kernel)

    def disks(name):
        root, data = f"/dev/shm/{name}-root.img", f"/dev/shm/{name}-data.img"
        shutil.copyfile(ROOT_DISK, root)
        with open(data, "wb") as file:
            for _ in range(SIZE >> 20):
                file.write(b"\xa5" * (1 << 20))
        return [root, data]

    append = 'quiet tiny.run="sh /server.sh"'
    ours = Guest("vmm", vmm(kernel, MEM, disks=disks("vmm"), append=append))
    theirs = Guest("QEMU", qemu("q35", MEM, disks=disks("qemu"), kernel=kernel,
                                append=f"console=ttyS0 root=/dev/vda rw {append}"))
    rates, errors = {job: ([], []) for job in JOBS}, []
    for turn in turns(rounds, SECONDS):
        for job, options in JOBS.items():
            for guest, taken in zip((ours, theirs), rates[job]):
                taken.append(guest.rate(options))
            say(f"disk, round {turn + 1}: {job}: {rates[job][0][-1]:.0f} and {rates[job][1][-1]:.0f} a second")
        errors.append(float(ours.fio(VERIFY)[ERROR]))
        yield results(rates, errors)
    for guest in (ours, theirs):
        guest.run.kill()


def results(rates, errors):
    rows = [row(job, "1/s", *taken, ratio_at_least=1) for job, taken in rates.items()]
    rows.append(row("errors of random writes verified by crc32c", "", errors, ours_at_most=0))
    return {"rows": rows}
