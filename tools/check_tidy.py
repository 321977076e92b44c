#!/usr/bin/env python3
"""tools/check_tidy.py BUILD [WORD]: clang-tidy on every source of the program that BUILD compiles, one process per core; only
on those with WORD in their paths, such as an architecture that another BUILD does not compile. A source that was clean is
not looked at again until it, a header of ours that it includes, or the rules change. Tests are left out: they are most of
the time and none of the risk."""

import concurrent.futures
import hashlib
import json
import os
import re
import subprocess
import sys

INCLUDE = re.compile(rb'^#include "([^"]+)"', re.MULTILINE)
CLEAN = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "vmm/tidy")


def reads(path, seen):
    """Adds path and all that it includes from this tree to seen, with their text."""
    if path in seen or not os.path.exists(path):
        return
    with open(path, "rb") as file:
        seen[path] = file.read()
    for target in INCLUDE.findall(seen[path]):
        reads(target.decode(), seen)


def tidy(path, build, version):
    """None when clean, else what clang-tidy says."""
    seen = {}
    for file in (path, ".clang-tidy", "meson.build"):
        reads(file, seen)
    content = hashlib.sha256(version)
    for name in sorted(seen):
        content.update(name.encode() + b"\0" + seen[name] + b"\0")
    mark = f"{CLEAN}/{content.hexdigest()}"
    if os.path.exists(mark):
        return None
    result = subprocess.run(["nice", "clang-tidy", "--quiet", "--warnings-as-errors=*",
                             "--extra-arg=-Wno-unknown-warning-option",  # BUILD may be GCC's
                             "-p", build, path],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode:
        return result.stdout
    open(mark, "w").close()
    return None


def main():
    os.chdir(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    os.makedirs(CLEAN, exist_ok=True)
    build, word = sys.argv[1], "".join(sys.argv[2:3])
    version = subprocess.run(["clang-tidy", "--version"], stdout=subprocess.PIPE, check=True).stdout
    with open(f"{build}/compile_commands.json") as file:
        paths = {os.path.relpath(os.path.join(entry["directory"], entry["file"])) for entry in json.load(file)}
    paths = sorted(path for path in paths if path.endswith(".cc") and word in path
                   and not path.startswith("tests/"))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [said for said in pool.map(lambda path: tidy(path, build, version), paths) if said]
    print("\n".join(found))
    sys.exit(1 if found else 0)


main()
