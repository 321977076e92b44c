"""Where tests with guests run, and the images they start: $VMM_IMAGES_<NAME> is the folder that `guest-images/get` prints."""

import os
import subprocess

from test_report import ROOT, run, tail

TEST_IMAGES = ("kernel", "tiny", "debian-kernel", "debian-trixie-kernel", "debian")


class ImageFailure(Exception):
    """An image could not be made: its name, and what was said."""

    def __init__(self, name, said):
        super().__init__(f"the guest image '{name}' could not be made\n{said}")
        self.name, self.said = name, said


def image_environment(names, suffix=""):
    """The variables that tell tests of these images; `suffix` is that of another architecture's."""
    environment = {}
    for name in names:
        status, output, errors = run(["guest-images/get", name + suffix])
        if status:
            raise ImageFailure(name + suffix, tail(errors))
        environment["VMM_IMAGES_" + name.upper().replace("-", "_")] = output.strip()
    return environment


def runs_here(program):
    """Payloads run on any KVM; whole guests where virtualization is the hardware's, else in a lab."""
    if os.path.basename(program) == "payload-tests":
        return os.access("/dev/kvm", os.R_OK | os.W_OK)
    where = subprocess.run(["tools/lab", "--where"], cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout.strip()
    return where == "here"
