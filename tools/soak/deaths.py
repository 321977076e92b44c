#!/usr/bin/env python3
"""Runs the table of ways in which a guest dies, tests/deaths/deaths.toml, and holds vmm to what each row says. Status and
words tell what is named rightly; the time is from the moment the guest says that it dies to the end of vmm.

By itself it runs where /dev/kvm is, as CI does with --ci; `tools/dev soak deaths` takes a lab where there is none."""

import argparse
import os
import re
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
sys.path.insert(1, f"{ROOT}/tools")

from guest_images import image_environment, runs_here  # noqa: E402

TABLE = f"{ROOT}/tests/deaths/deaths.toml"
IMAGES = ("kernel", "tiny", "debian-kernel")
PATIENCE = 200  # seconds for one row, on an emulated machine
SAYS = "dying"

# A Multiboot kernel that says a word on the serial line, and then does what its row has.
KERNEL = """
        .long 0x1badb002, 0, -0x1badb002
        .globl _start
_start: mov $0x180000, %esp
        mov $word, %esi
        mov $0x3f8, %dx
1:      lodsb
        test %al, %al
        jz 2f
        out %al, %dx
        jmp 1b
2:      CODE
word:   .asciz "WORD"
none:   .skip 6
"""


def image(name):
    return os.environ["VMM_IMAGES_" + name.upper().replace("-", "_")]


def fill_in(text, folder):
    return re.sub(r"\{([a-z-]+)\}", lambda match: folder if match[1] == "dir" else image(match[1]), text)


def assemble(row, folder):
    source = KERNEL.replace("CODE", row["code"]).replace("WORD", row.get("words", SAYS) + "\\n")
    subprocess.run(["as", "--32", "-o", f"{folder}/code.o"], input=source, text=True, check=True)
    subprocess.run(["ld", "-m", "elf_i386", "-N", "--no-warn-rwx-segments", "-Ttext", "0x100000", "-o", f"{folder}/code",
                    f"{folder}/code.o"], check=True)
    return ["--kernel", f"{folder}/code", "--mem", "64M"]


def arguments(row, folder):
    """vmm's, for this row."""
    images = {name: image(name) for name in IMAGES}
    flags = [fill_in(flag, folder) for flag in row.get("flags", [])]
    if "code" in row:
        return assemble(row, folder) + flags
    if row.get("kernel") == "debian-kernel":
        words = ["--kernel", images["debian-kernel"] + "/vmlinuz", "--append", "quiet"]
        words += [] if "boot" in row else ["--initrd", images["debian-kernel"] + "/initrd.img", "--append", "root="]
    else:
        words = ["--kernel", images["kernel"] + "/bzImage", "--append", "quiet"]
        words += ["--initrd", images["tiny"] + "/initramfs.cpio.gz"] if "run" in row else []
    says = row.get("words", SAYS)
    says = f"echo {says}; " if says else ""
    if "run" in row:
        words += ["--append", f'tiny.run="{says}{row["run"]}"']
    if "command" in row:
        return words + ["--disk", images["tiny"] + "/rootfs.img,ephemeral", *flags, "--", "sh", "-c", says + row["command"]]
    return words + flags


def run(row):
    """vmm's status, what it and its guest said, and the seconds from the guest's word to the end, where it said one."""
    with tempfile.TemporaryDirectory() as folder:
        if "prepare" in row:
            subprocess.run(["sh", "-c", fill_in(row["prepare"], folder)], cwd=folder, check=True)
        vmm, control = os.environ["VMM"], f"{folder}/control"
        words = arguments(row, folder)
        vm = subprocess.Popen([vmm, "--ctl", control, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        said, died, limit = b"", None, time.monotonic() + PATIENCE
        mark = (row.get("words") or SAYS).encode()
        while time.monotonic() < limit:
            if not select.select([vm.stdout], [], [], 1)[0]:
                continue
            part = os.read(vm.stdout.fileno(), 65536)
            if not part:
                break
            said = said[-1_000_000:] + part
            if died is None and mark in said:
                died = time.monotonic()
                if row.get("host", "").startswith("SIG"):
                    vm.send_signal(getattr(signal, row["host"]))
                elif "host" in row:
                    subprocess.run([vmm, row["host"], control], stdout=subprocess.DEVNULL, timeout=PATIENCE)
        else:
            vm.kill()
        status = vm.wait()
        return status, said.decode(errors="replace"), None if died is None else time.monotonic() - died


def judge(row):
    """Runs a row and prints a line; whether it was named rightly, whether it was called success, and the time."""
    status, said, seconds = run(row)
    right = status == row["status"] and row.get("says", "") in said
    took = f"{seconds:6.1f} s" if seconds is not None else " " * 8
    print(f"{'ok' if right else 'WRONG':5} {status:4} {took} {row['name']}", flush=True)
    if not right:
        print(f"      expected {row['status']} and '{row.get('says', '')}'")
        print("\n".join("      | " + line[:160] for line in said.splitlines()[-12:]), flush=True)
    return right, status == 0 and row["status"] != 0, seconds


def run_table(rows):
    results = [judge(row) for row in rows]
    times = [seconds for _, _, seconds in results if seconds is not None]
    right = sum(result[0] for result in results)
    print(f"{len(results)} deaths, {right} named rightly, {sum(result[1] for result in results)} called success; "
          f"from death to verdict {statistics.median(times or [0]):.1f} s in the median", flush=True)
    return 0 if results and right == len(results) else 1


def soak(arguments):
    """[--ci] [NAME...]: a hundred ways to die, and what vmm says of each; or these, by a part of their names"""
    parser = argparse.ArgumentParser(prog="tools/dev soak deaths", description=soak.__doc__.partition(": ")[2])
    parser.add_argument("--ci", action="store_true", help="those that every CI runs")
    parser.add_argument("--here", action="store_true", help="/dev/kvm is here, VMM and VMM_IMAGES_... are set")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args(arguments)
    if not options.here:
        environment = {**os.environ, "VMM": f"{ROOT}/build/vmm/vmm", **image_environment(IMAGES)}
        lab = [] if runs_here("deaths") else [f"{ROOT}/tools/lab", "--time", "0", "--"]
        return subprocess.run([*lab, os.path.realpath(__file__), "--here", *arguments], env=environment).returncode
    with open(TABLE, "rb") as table:
        rows = tomllib.load(table)["death"]
    return run_table([row for row in rows if (row.get("ci") or not options.ci)
                      and (not options.names or any(name in row["name"] for name in options.names))])


if __name__ == "__main__":
    sys.exit(soak(sys.argv[1:]))
