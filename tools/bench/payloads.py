"""Builds the payloads that benchmarks run, into build/bench/, where their sources are newer than they are."""

import glob
import os
import subprocess

from monitors import ROOT

OUT = f"{ROOT}/build/bench"
SOURCE = f"{ROOT}/tools/bench/payload"
TESTS = f"{ROOT}/tests/payload"
LINK = ["-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none"]
FREESTANDING = ["-std=gnu11", "-O2", "-ffreestanding", "-fno-pic", "-fno-stack-protector", "-fno-strict-aliasing",
                "-fno-asynchronous-unwind-tables", "-mno-sse", "-mno-red-zone", "-Wl,--no-warn-rwx-segments"]


def build(path, sources, *commands):
    newest = max(os.path.getmtime(source) for source in sources)
    if not os.path.exists(path) or os.path.getmtime(path) < newest:
        os.makedirs(OUT, exist_ok=True)
        for command in commands:
            subprocess.run(command, check=True)
    return path


def first(kind, hold=False):
    """The path of first.elf or first.rom; `hold` makes it halt instead of ending."""
    path, source, script = f"{OUT}/first{'-hold' if hold else ''}.{kind}", f"{SOURCE}/first.S", f"{SOURCE}/first.ld"
    flags = ["gcc", "-m32", *(["-DHOLD"] if hold else [])]
    if kind == "elf":
        return build(path, [source, script], [*flags, *LINK, "-T", script, "-o", path, source])
    return build(path, [source], [*flags, "-DROM", "-c", "-o", f"{path}.o", source],
                 ["objcopy", "-O", "binary", "-j", ".text", f"{path}.o", path])


def exits(count):
    """The path of exits.S, with so many exits."""
    path, source, script = f"{OUT}/exits-{count}.elf", f"{SOURCE}/exits.S", f"{SOURCE}/first.ld"
    return build(path, [source, script],
                 ["gcc", "-m32", f"-DCOUNT={count}", *LINK, "-T", script, "-o", path, source])


def load(name):
    """The path of tests/payload/NAME.c, blkload or netload, built for 64 bits, in the 32-bit ELF that Multiboot wants."""
    path, script = f"{OUT}/{name}64.elf", f"{TESTS}/payload.ld"
    code = [f"{SOURCE}/start64.S", *(f"{TESTS}/{part}.c" for part in ("runtime", "acpi", "virtio", name))]
    return build(path, [*code, script, *glob.glob(f"{TESTS}/*.h")],
                 ["gcc", "-m64", *FREESTANDING, *LINK, "-T", script, "-o", path, *code])


def build_all():
    """Before a lab is entered, where a compiler takes long."""
    for hold in (False, True):
        first("elf", hold), first("rom", hold)
    for name in ("blkload", "netload"):
        load(name)
