"""The command lines that are compared: vmm's, and what a user of Debian's QEMU would write for the same machine."""

import os
import shutil

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
VMM = os.environ.get("VMM", f"{ROOT}/build/vmm/vmm")
QEMU = shutil.which("qemu-system-x86_64") or "/usr/bin/qemu-system-x86_64"

# KVM that interprets kernel code knows too little of the host's CPU for `-cpu host`.
INSIDE_LAB = bool(os.environ.get("VMM_IN_LAB"))
CPU = "host" if INSIDE_LAB else "qemu64,-pni,-svm"
MICROVM = "microvm,x-option-roms=off,pit=off,pic=off,rtc=off,isa-serial=on"
DEBUG_EXIT = ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]


def vmm(kernel, mem=256, cpus=1, disks=(), append=None, extra=()):
    command = [VMM, "--kernel", kernel, "--mem", f"{mem}M", "--cpus", str(cpus), "--serial", "stdio",
               "--debug-exit", "0xf4", *extra]
    for disk in disks:
        command += ["--disk", disk]
    return command + (["--append", append] if append else [])


def qemu(machine, mem=256, cpus=1, disks=(), kernel=None, append=None, extra=()):
    """`disks` are files; each has an I/O thread, io_uring and the host's page cache, as vmm's have."""
    command = [QEMU, "-M", machine, "-accel", "kvm", "-cpu", CPU, "-m", str(mem), "-smp", str(cpus), "-nodefaults",
               "-no-user-config", "-nographic", "-serial", "stdio", "-no-reboot", *DEBUG_EXIT, *extra]
    for i, disk in enumerate(disks):
        command += ["-object", f"iothread,id=io{i}",
                    "-blockdev", f"driver=raw,node-name=disk{i},file.driver=file,file.filename={disk},"
                    "file.aio=io_uring,cache.direct=off",
                    "-device", f"virtio-blk-pci,drive=disk{i},iothread=io{i},disable-legacy=on"]
    command += ["-kernel", kernel] if kernel else []
    return command + (["-append", append] if append else [])
