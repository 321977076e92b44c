#!/usr/bin/env python3
"""The layering rule: a file may include its own layer and lower ones; kvm, blackbox, devices and firmware are siblings
and never include one another. Includes are written from the root. <linux/kvm.h> is for vmm/kvm alone. What runs in a guest,
tests/payload, is a world of its own."""

import os
import re
import subprocess
import sys

LAYERS = [  # folder (a file's longest prefix counts), level
    ("vmm/core/", 0), ("vmm/kvm/", 1), ("vmm/blackbox/", 1), ("devices/", 1), ("firmware/", 1),
    ("vmm/machine/", 4), ("vmm/control/", 5), ("vmm/", 6), ("tests/", 7),
]
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.MULTILINE)


def layer(path):
    if path.startswith("tests/payload/"):
        return None
    return next(((folder, level) for folder, level in LAYERS if path.startswith(folder)), None)


def faults(path):
    folder, level = layer(path)
    with open(path) as file:
        text = file.read()
    for match in INCLUDE.finditer(text):
        place = f"{path}:{text.count(chr(10), 0, match.start(2)) + 1}"
        target = match.group(2)
        if match.group(1) == "<":
            if target in ("linux/kvm.h", "asm/kvm.h") and folder not in ("vmm/kvm/", "tests/"):
                yield f"{place}: only vmm/kvm includes <{target}>"
            continue
        seen = layer(target)
        if not seen or not os.path.exists(target):
            yield f'{place}: "{target}" is not written from the root'
        elif seen[1] > level or (seen[1] == level and seen[0] != folder):
            yield f"{place}: {folder} may not include {seen[0]}"


def main():
    os.chdir(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    listing = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.cc", "*.h"], stdout=subprocess.PIPE,
                             text=True, check=True).stdout.splitlines()
    found = [fault for path in listing if os.path.exists(path) and layer(path) for fault in faults(path)]
    print("\n".join(found))
    sys.exit(1 if found else 0)


main()
