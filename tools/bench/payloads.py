"""Builds this folder's payloads into build/bench/."""

import os
import subprocess

from monitors import ROOT

OUT = f"{ROOT}/build/bench"
SOURCE = f"{ROOT}/tools/bench/payload"
LINK = ["-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-T", f"{SOURCE}/first.ld"]


def first(kind, hold=False):
    """The path of first.elf or first.rom; `hold` makes it halt instead of ending."""
    os.makedirs(OUT, exist_ok=True)
    path = f"{OUT}/first{'-hold' if hold else ''}.{kind}"
    flags = ["gcc", "-m32", *(["-DHOLD"] if hold else [])]
    if kind == "elf":
        subprocess.run([*flags, *LINK, "-o", path, f"{SOURCE}/first.S"], check=True)
    else:
        subprocess.run([*flags, "-DROM", "-c", "-o", f"{path}.o", f"{SOURCE}/first.S"], check=True)
        subprocess.run(["objcopy", "-O", "binary", "-j", ".text", f"{path}.o", path], check=True)
    return path
