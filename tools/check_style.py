#!/usr/bin/env python3
"""The habits that a formatter cannot see: files of a readable length that open with a paragraph, a unit test beside every
source that has logic, SCREAMING_CASE kept for names that a specification or a kernel header gave, and no reader sent to
what is not there, be it a link, a document or the number of a rule."""

import os
import re
import subprocess
import sys

WARN_LINES, FAIL_LINES = 500, 900

# Sources without a unit test of the same name, and why they need none.
UNTESTED = {
    "vmm/core/check.cc": "it aborts",
    "vmm/blackbox/core_file.cc": "vmcore_test reads files of both kinds",
    "vmm/core/cpu_pause_aarch64.cc": "one instruction",
    "vmm/core/cpu_pause_x86_64.cc": "one instruction",
    "devices/backends/share/fuse_message.cc": "fuse_server_test sends what it takes apart",
    "devices/backends/share/shared_tree.cc": "fuse_server_test and fuse_files_test",
    "devices/backends/disk/io_uring.cc": "io_engine_test runs both engines",
    "devices/backends/disk/lock_holder.cc": "image_lock_test meets it",
    "devices/backends/disk/thread_engine.cc": "io_engine_test runs both engines",
    "devices/pci/pci_device.cc": "pci_root_test and virtio_pci_test drive it as a guest does",
    "devices/virtio/descriptor_chain.cc": "virtqueue_test",
    "devices/virtio/virtio_pci_report.cc": "virtio_pci_test",
    "devices/virtio/vsock_connection.cc": "vsock_test",
    "firmware/kernel_formats_aarch64.cc": "arm64_image_test has the format, and boot tests go this way",
    "firmware/kernel_formats_x86_64.cc": "kernel_file_test",
}
TESTED_FOLDERS = ("vmm/core/", "vmm/blackbox/", "devices/", "firmware/")

# A name that no specification gave would be kName: `constexpr int MAX_SIZE`, `#define LIMIT`, `enum { FIRST_ONE }`.
OUR_CONSTANT = re.compile(r"^\s*(?:static |inline )*constexpr\s[\w:<>, ]*?\b([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)\s*[={\[]")
# Where specifications are written down as C++: their names keep the spelling.
SPEC_NAMES = re.compile(r"\b(VIRTIO|VRING|VHOST|PCI|MULTIBOOT|FUSE|XEN|HVM|E820|ACPI|UART|KVM|ELF|EM|PT|NT|EI)_")


def test_of(path):
    path = path[len("vmm/"):] if path.startswith("vmm/") else path
    return f"tests/unit/{path[:-len('.cc')]}_test.cc"


def check(path):
    """Yields (is it an error?, text)."""
    with open(path) as file:
        lines = file.read().splitlines()
    if len(lines) > WARN_LINES:
        yield len(lines) > FAIL_LINES, f"{path}: {len(lines)} lines: a file of 50 to 400 is read in one go"
    if not lines or not lines[0].startswith(("// ", "/* ")):
        yield True, f"{path}:1: a file opens with a comment that says what it is"
    if path.endswith(".cc") and path.startswith(TESTED_FOLDERS):
        if not os.path.exists(test_of(path)) and path not in UNTESTED:
            yield True, f"{path}: there is no {test_of(path)}"
    if lines and OPENS_WITH_A_POINTER.match(lines[0]):
        yield True, f"{path}:1: a file opens with what it is, and not with where to read that alone"
    for number, line in enumerate(lines, 1):
        cited = CITATION.search(line)
        if cited:
            yield True, f"{path}:{number}: {cited.group(1).strip()}: a reader cannot open that; say the rule, or devices/README.md"
        for document in DOCUMENT.findall(line):
            elsewhere = "/" in document and not os.path.exists(document.partition("/")[0])  # another project's
            if not elsewhere and not os.path.exists(document) and not os.path.exists(os.path.join(os.path.dirname(path), document)):
                yield True, f"{path}:{number}: there is no {document}"
        if FRAGMENT.match(line) and not lines[number - 2].lstrip().startswith("//") and not path.startswith("tests/"):
            yield True, f"{path}:{number}: a comment begins with its noun, not with '{FRAGMENT.match(line).group(1)}'"
        match = OUR_CONSTANT.match(line)
        if match and not SPEC_NAMES.match(match.group(1)):
            yield True, f"{path}:{number}: {match.group(1)}: SCREAMING_CASE is for names from a spec; ours are kName"


# A rule or a row of a list that is not here: `(D8)`, `Q16: a table`. In comments, and in the names of tests.
CITATION = re.compile(r"""(?://|/\*|TEST_CASE\().*?(\([A-Z]\d{1,2}(?:(?:,\ |\ to\ )[A-Z]\d{1,2})*\)|\bissue\ \#?\d+
                          |(?<=[/"]\ )[A-Z]\d{1,2}(?:,\ [A-Z]\d{1,2})*:\ )""", re.VERBOSE)
DOCUMENT = re.compile(r"[\w./-]*\w\.md\b")
OPENS_WITH_A_POINTER = re.compile(r"^// See [\w./]+\.$")
# A comment that begins in the middle of a sentence whose beginning is above it, or nowhere.
FRAGMENT = re.compile(r"^\s*// (Of|The same|Those) ")
# A link to a file of the repository; `#part` is left to the reader.
LINK = re.compile(r"\]\(([^():#]+)[^()]*\)")


def check_links(path):
    with open(path) as file:
        for target in LINK.findall(file.read()):
            if not os.path.exists(os.path.join(os.path.dirname(path), target)):
                yield True, f"{path}: the link to {target} leads nowhere"


def listed(*patterns):
    listing = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", *patterns], stdout=subprocess.PIPE, text=True,
                             check=True).stdout.splitlines()
    return [path for path in listing if os.path.exists(path)]


def main():
    os.chdir(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    findings = [finding for path in listed("*.cc", "*.h", "*.c") for finding in check(path)]
    findings += [finding for path in listed("*.md") for finding in check_links(path)]
    findings += [(True, f"tools/check_style.py: {path} is excused and needs no excuse") for path in UNTESTED
                 if not os.path.exists(path) or os.path.exists(test_of(path))]
    for error, text in findings:
        print(("" if error else "warning: ") + text)
    sys.exit(1 if any(error for error, _ in findings) else 0)


main()
