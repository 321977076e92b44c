"""disk: fio in a guest with the small kernel, in the lab, vmm's virtio-blk against QEMU's with io_uring and an I/O thread.

The guest is the tiny one with fio added; the disk it measures is a file in memory, without holes. The monitors take
turns, and each guest runs all jobs, so a pair is some seconds apart. Times are emulated: only the ratios mean
something. What fio writes with checksums and reads back is a row of its own, of errors.
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
SECONDS = 200  # for all rounds
LIMIT = 120  # for one guest; 35 where nothing else runs
MEM = 512
SIZE = 64 << 20
JOB_SECONDS = 3
JOBS = {
    "random read 4 KiB, depth 1": "--rw=randread --bs=4k --iodepth=1",
    "random read 4 KiB, depth 32": "--rw=randread --bs=4k --iodepth=32",
    "random write 4 KiB, depth 1": "--rw=randwrite --bs=4k --iodepth=1",
    "random write 4 KiB, depth 32": "--rw=randwrite --bs=4k --iodepth=32",
    "sequential read 1 MiB": "--rw=read --bs=1M --iodepth=2",
    "sequential write 1 MiB": "--rw=write --bs=1M --iodepth=2",
}
FIO = ("fio --minimal --terse-version=3 --filename=/dev/vdb --direct=1 --ioengine=io_uring --stonewall --thread "
       "--clocksource=clock_gettime")
VERIFY = "--rw=randwrite --bs=4k --iodepth=32 --size=4M --verify=crc32c --do_verify=1 --verify_fatal=1"
READ_IOPS, WRITE_IOPS, ERROR = 5, 46, 2  # fields of terse version 3, after the name
ROOT_DISK = f"{OUT}/fio-root.img"


def prepare():
    """The root disk, made outside the lab: the tiny guest, this host's fio with its libraries, and a script of jobs."""
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
        jobs = [f"--name=job{i} {job} --time_based --runtime={JOB_SECONDS}" for i, job in enumerate(JOBS.values())]
        with open(f"{root}/jobs.sh", "w") as script:  # one fio: it takes long to load
            script.write(" ".join([FIO, *jobs, "--name=verify", VERIFY]) + "\n")
        subprocess.run(["/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", root,
                        ROOT_DISK, "192M"], check=True)


def one(name, command):
    """Requests per second of each job, and fio's error of the one that verifies."""
    run = Run(command, {"ready": r"tiny: ready", "done": r"tiny: exit \d+"})
    if not run.watch(LIMIT, "done"):
        run.fail(f"fio did not come to its end within {LIMIT} s")
    run.finish(5)
    run.kill()
    lines = dict(re.findall(r"^3;[^;]*;(\w+)(;.*?)\r?$", run.output.decode(errors="replace"), re.M))
    if len(lines) != len(JOBS) + 1:
        run.fail("fio did not say what it did")
    rates = []
    for i in range(len(JOBS)):
        fields = lines[f"job{i}"].split(";")
        if fields[ERROR] != "0":
            run.fail("fio failed")
        rates.append(float(fields[READ_IOPS]) + float(fields[WRITE_IOPS]))
    say(f"{name}: ready after {run.times['ready']:.1f} s, fio done after {run.times['done']:.1f} s: requests per second "
        + ", ".join(f"{rate:.0f}" for rate in rates))
    return rates, float(lines["verify"].split(";")[ERROR])


def measure(rounds):
    kernel, root, data = "/dev/shm/vmlinux", "/dev/shm/fio-root.img", "/dev/shm/fio-data.img"
    shutil.copyfile(f"{os.environ['VMM_IMAGES_KERNEL']}/vmlinux", kernel)
    shutil.copyfile(ROOT_DISK, root)
    with open(data, "wb") as file:
        for _ in range(SIZE >> 20):
            file.write(b"\xa5" * (1 << 20))
    append = 'quiet tiny.run="sh /jobs.sh"'
    commands = {"vmm": vmm(kernel, MEM, disks=[root, data], append=append),
                "QEMU": qemu("q35", MEM, disks=[root, data], kernel=kernel,
                             append=f"console=ttyS0 root=/dev/vda rw {append}")}
    pairs = []
    for turn in turns(rounds, SECONDS):
        pairs.append([one(f"disk, round {turn + 1}: {name}", command) for name, command in commands.items()])
        yield results(pairs)


def results(pairs):
    rows = [row(job, "1/s", *[[pair[which][0][i] for pair in pairs] for which in (0, 1)], ratio_at_least=1)
            for i, job in enumerate(JOBS)]
    errors = [[pair[which][1] for pair in pairs] for which in (0, 1)]
    rows.append(row("errors of random writes verified by crc32c", "", errors[0], ours_at_most=0))
    return {"rows": rows}
