#!/usr/bin/env python3
"""tools/bench/run.py [NAME...] [--rounds N] [--json FILE] [--svg FILE]

Measures vmm against Debian's QEMU on the same host, kernel and disk, and prints what came out beside what is promised.
NAME is start, boot, command, disk, net, device, packets, idle, growth, trace or gdb; without one it is all of them.
trace measures against vmm without --trace. Only ratios of pairs that ran one right after the other are compared with a
bound, and of these the median: other work on the host then does little harm.

boot, command, disk, net and idle run whole guests and so in the lab (tools/lab); the others directly on this host's /dev/kvm,
and in the lab only where there is none. Each begins no round that would end after its time, some minutes at most. The
results go to --json (build/bench/results.json; benchmarks that did not run keep what they had) and the timeline of
`boot` to --svg (build/bench/boot.svg). Exit status: 0, 1 when a bound is missed, 125 when something could not be measured.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys

import payloads
from measure import Failure, say
from monitors import ROOT

ROUNDS = {"start": 20, "boot": 6, "command": 8, "disk": 8, "net": 6, "device": 6, "packets": 6, "idle": 6, "growth": 6,
          "trace": 12, "gdb": 6}
OUT_OF_TIME = 124  # the lab's status
LAB_MARGIN = 150  # seconds, for the lab's start and for what comes beside the rounds
MARK = "tools/bench: result: "  # before the JSON that the run in the lab prints after each round


def image(name):
    found = subprocess.run([f"{ROOT}/guest-images/get", name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if found.returncode:
        raise Failure(f"the guest image '{name}' could not be made")
    return found.stdout.strip()


def in_lab(name, benchmark, rounds):
    command = [f"{ROOT}/tools/lab", "--time", str(benchmark.SECONDS + LAB_MARGIN), "--",
               sys.executable, "-B", os.path.realpath(__file__), "--here", name, "--rounds", str(rounds)]
    result = None
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith(MARK):
                result = json.loads(line[len(MARK):])
            else:
                print(line, end="", file=sys.stderr)
    if process.returncode not in (0, OUT_OF_TIME) or result is None:
        raise Failure(f"{name}: the lab ended with status {process.returncode}")
    if process.returncode == OUT_OF_TIME:  # an emulated machine may come to a halt
        say(f"{name}: the lab did not get to its end; the rounds before count")
    return result


def take(name, rounds, here):
    benchmark = importlib.import_module(name)
    whole_guests = hasattr(benchmark, "IN_LAB")
    if here or not whole_guests and os.access("/dev/kvm", os.R_OK | os.W_OK):
        result = None
        for result in benchmark.measure(rounds):
            if here:
                print(MARK + json.dumps(result), flush=True)
        return result
    if whole_guests:
        for of in ("kernel", "tiny"):
            os.environ[f"VMM_IMAGES_{of.upper()}"] = image(of)
    payloads.build_all()
    if hasattr(benchmark, "prepare"):
        benchmark.prepare()
    say(f"{name}: in the lab")
    return in_lab(name, benchmark, rounds)


def number(value):
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def spread_text(spread):
    return f"{number(spread['median'])} ({number(spread['min'])}-{number(spread['max'])})"


def print_table(results):
    lines = [("", "vmm", "against", "ratio", "bound", "")]
    for name, result in results.items():
        for row in result["rows"]:
            unit = f" {row['unit']}" if row["unit"] else ""
            lines.append((f"{name}: {row['what']}", spread_text(row["ours"]) + unit,
                          spread_text(row["theirs"]) + unit if "theirs" in row else "",
                          spread_text(row["ratio"]) if "ratio" in row else "", row.get("bound", ""),
                          {True: "met", False: "MISSED", None: ""}[row.get("met")]))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def parse_arguments():
    parser = argparse.ArgumentParser(prog="tools/bench/run.py", usage=__doc__, add_help=False)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--json", default=f"{payloads.OUT}/results.json")
    parser.add_argument("--svg", default=f"{payloads.OUT}/boot.svg")
    parser.add_argument("--here", action="store_true")  # the lab's half
    parser.add_argument("--help", "-h", action="store_true")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in ROUNDS]
    if options.help or unknown:
        print(__doc__.strip(), file=sys.stderr if unknown else sys.stdout)
        sys.exit(125 if unknown else 0)
    return options


def keep(path, results):
    """Adds results to what the file has, and returns all."""
    try:
        with open(path) as file:
            everything = json.load(file)
    except (OSError, ValueError):
        everything = {}
    everything.update(results)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w") as file:
        json.dump(everything, file, indent=1)


def main():
    options = parse_arguments()
    results, failed = {}, False
    for name in options.names or ROUNDS:
        try:
            result = take(name, options.rounds or ROUNDS[name], options.here)
        except Failure as failure:
            say(failure)
            failed = True
            continue
        if options.here:
            continue
        results[name] = result
        keep(options.json, results)
    if failed:
        sys.exit(125)
    if options.here:
        return
    if "boot" in results:
        from timeline import draw
        with open(options.svg, "w") as file:
            file.write(draw(results["boot"]["timeline"]))
    print_table(results)
    sys.exit(any(row.get("met") is False for result in results.values() for row in result["rows"]))


main()
