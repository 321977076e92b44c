"""Guests that stay up and run what they are told over the console, so that two monitors can take turns at one short job
after the other: what a host is busy with changes within seconds, and so does a lab's speed."""

import os
import re
import shutil
import subprocess
import tempfile

from measure import Failure, Run, say
from payloads import OUT

LIMIT = 120  # for one guest to come up, and for one job; a few seconds where nothing else runs
MEM = 512
# Each line that is typed is a name and a command.
SERVER = """echo "guest: ready"
while read -r name command; do
  echo "guest: $name begins"
  eval "$command"
  echo "guest: $name ends $?"
done
"""


def root_disk(name):
    return f"{OUT}/{name}-root.img"


def make_root_disk(name):
    """A disk of the tiny guest, this host's program of that name with its libraries, and the server; outside the lab."""
    program = shutil.which(name)
    if not program:
        raise Failure(f"no {name} here\n  fix: apt-get install {name}")
    needed = subprocess.run(["ldd", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    libraries = re.findall(r"(/\S+)", needed)
    os.makedirs(OUT, exist_ok=True)
    with tempfile.TemporaryDirectory() as root:
        archive = f"{os.environ['VMM_IMAGES_TINY']}/initramfs.cpio.gz"
        subprocess.run(f"zcat {archive} | cpio -idm --quiet", shell=True, cwd=root, check=True)
        for file in [program, *libraries]:
            os.makedirs(os.path.dirname(root + file), exist_ok=True)
            shutil.copy(file, root + file)
        os.makedirs(f"{root}/sbin", exist_ok=True)
        if os.path.lexists(f"{root}/sbin/init"):
            os.unlink(f"{root}/sbin/init")
        os.symlink("../init", f"{root}/sbin/init")
        with open(f"{root}/server.sh", "w") as script:
            script.write(SERVER)
        subprocess.run(["/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", root,
                        root_disk(name), "192M"], check=True)


class Guest:
    """One on the disk of make_root_disk(), started by a monitor's command line with `append` among its kernel's words."""

    append = 'quiet tiny.run="sh /server.sh"'
    full_append = f"console=ttyS0 root=/dev/vda rw {append}"  # vmm has the first part by default

    def __init__(self, name, command):
        self.name, self.asked = name, 0
        self.run = Run(command, {"ready": r"guest: ready"}, typed=True)
        if not self.run.watch(LIMIT, "ready"):
            self.run.fail(f"the guest did not come up within {LIMIT} s")
        say(f"{name}: ready after {self.run.times['ready']:.1f} s")

    def ask(self, command):
        """What the command prints; it must succeed."""
        self.asked += 1
        job = f"job{self.asked}"
        self.run.expect(job, rf"guest: {job} ends \d")
        self.run.type(f"{job} {command}\n")
        if not self.run.watch(LIMIT, job):
            self.run.fail(f"`{command}` did not come to its end within {LIMIT} s")
        said = self.run.output.decode(errors="replace").replace("\r", "")
        found = re.search(rf"guest: {job} begins\n(.*)guest: {job} ends (\d+)", said, re.S)
        if not found or found[2] != "0":
            self.run.fail(f"`{command}` failed")
        return found[1]
