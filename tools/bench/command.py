"""command: `vmm --kernel bzImage -- true` from exec to exit, in the lab, against QEMU with the same kernel.

QEMU has no such thing: it boots the tiny guest's initramfs, which runs `true` and powers off. vmm has the host's
root as the guest's, and says what became of the command.
"""

import os
import shutil

from measure import Run, row, say, turns
from monitors import VMM, qemu

IN_LAB = True
SECONDS = 200  # for all rounds
LIMIT = 60  # for one guest
MEM = 512


def measure(rounds):
    kernel, initrd = "/dev/shm/bzImage", "/dev/shm/initramfs.cpio.gz"
    shutil.copyfile(f"{os.environ['VMM_IMAGES_KERNEL']}/bzImage", kernel)
    shutil.copyfile(f"{os.environ['VMM_IMAGES_TINY']}/initramfs.cpio.gz", initrd)
    commands = {
        "vmm": [VMM, "--kernel", kernel, "--mem", f"{MEM}M", "--cpus", "1", "--", "true"],
        "QEMU": qemu("q35", MEM, kernel=kernel, append='console=ttyS0 quiet tiny.run="true"', extra=["-initrd", initrd]),
    }
    times = {name: [] for name in commands}
    for turn in turns(rounds, SECONDS):
        for name, command in commands.items():
            run = Run(command)
            if not run.finish(LIMIT) or run.status:
                run.fail(f"the guest did not end well within {LIMIT} s")
            times[name].append(run.times["end"])
        say(f"command, round {turn + 1}: {times['vmm'][-1]:.2f} and {times['QEMU'][-1]:.2f} s")
        yield {"rows": [row("exec to exit, running `true`", "s", *times.values(), ratio_at_most=0.7)]}
