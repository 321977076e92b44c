// The two tables; see foreign_flags.h.
#include "vmm/control/cli/foreign_flags.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>

namespace vmm {

namespace {

struct Equivalent {
  std::string_view theirs;
  std::string_view ours;
};

// QEMU's first, then those of lkvm, crosvm, Cloud Hypervisor and Firecracker.
constexpr auto kEquivalents = std::to_array<Equivalent>({
    {"-kernel", "--kernel"},
    {"-initrd", "--initrd"},
    {"-append", "--append"},
    {"-drive", "--disk FILE"},
    {"-hda", "--disk FILE"},
    {"-hdb", "--disk FILE, once for each disk"},
    {"-cdrom", "--disk FILE,ro"},
    {"-snapshot", "--disk FILE,ephemeral"},
    {"-bios", "leave it out: --kernel starts a kernel without firmware"},
    {"-pflash", "leave it out: --kernel starts a kernel without firmware"},
    {"-boot", "leave it out: --kernel starts a kernel without firmware"},
    {"-smp", "--cpus"},
    {"-m", "--mem"},
    {"-cpu", "--cpu"},
    {"-serial", "--serial"},
    {"-nographic", "the default: the serial console is on your terminal"},
    {"-display", "leave it out: there is no display"},
    {"-vnc", "leave it out: there is no display"},
    {"-vga", "leave it out: there is no display"},
    {"-echr", "--escape"},
    {"-no-reboot", "--on-reset exit, the default"},
    {"-no-shutdown", "--on-reset pause"},
    {"-action", "--on-reset and --on-panic"},
    {"-S", "--paused"},
    {"-s", "--gdb tcp::1234"},
    {"-gdb", "--gdb"},
    {"-monitor", "--ctl PATH or --name NAME, and the keys after Ctrl-A"},
    {"-qmp", "--ctl PATH"},
    {"-name", "--name"},
    {"-version", "--version"},
    {"-help", "--help"},
    {"-virtfs", "--share DIR[:TAG][,ro]"},
    {"-fsdev", "--share DIR[:TAG][,ro]"},
    {"-D", "--log"},
    {"-machine", "leave it out: there is one machine"},
    {"-M", "leave it out: there is one machine"},
    {"-accel", "leave it out: KVM is the only one"},
    {"-enable-kvm", "leave it out: KVM is the only one"},
    {"-nodefaults", "leave it out: there is nothing you did not ask for, but a serial port and virtio-rng (--no-rng)"},
    {"-device", "--disk, --net, --console, --debug-exit, --pc-testdev or --no-rng"},
    {"-nic", "--net user,fwd=2222:22, or --net tap=NAME"},
    {"-net", "--net user,fwd=2222:22, or --net tap=NAME"},
    {"-netdev", "--net user,fwd=2222:22, or --net tap=NAME"},
    {"-k", "--kernel"},
    {"-i", "--initrd"},
    {"-p", "--append"},
    {"-c", "--cpus"},
    {"-d", "--disk"},
    {"--params", "--append"},
    {"--cmdline", "--append, or --cmdline-only to replace it all"},
    {"--initramfs", "--initrd"},
    {"--block", "--disk"},
    {"--memory", "--mem"},
    {"-n", "--net"},
    {"--network", "--net"},
    {"--smp", "--cpus"},
    {"--fs", "--share DIR[:TAG][,ro]"},
    {"--shared-dir", "--share DIR[:TAG][,ro]"},
    {"--9p", "--share DIR[:TAG][,ro]"},
    {"--root", "--rootfs DIR"},
    {"--rodir", "--share DIR[:TAG],ro"},
    {"--rwdir", "--share DIR[:TAG]"},
    {"--api-socket", "--ctl PATH"},
    {"--api-sock", "--ctl PATH"},
    {"--firmware", "leave it out: --kernel starts a kernel without firmware"},
    {"--config-file", "leave it out: all is said by flags; vmm test reads a vmm.toml"},
});

// Verbs of lkvm, and what others say.
constexpr auto kEquivalentVerbs = std::to_array<Equivalent>({
    {"stop", "vmm poweroff NAME, or vmm kill NAME"},
    {"stat", "vmm stats NAME"},
    {"ps", "vmm list"},
    {"sandbox", "vmm -- CMD"},
    {"boot", "vmm --kernel FILE"},
    {"start", "vmm --kernel FILE"},
    {"version", "vmm --version"},
});

// Verbs that are reserved, and refused until they do what they say.
constexpr auto kUnbuiltVerbs = std::to_array<std::string_view>({
    "snapshot",
    "fork",
});

}  // namespace

Error refuse_flag(std::string_view flag) {
  const std::string_view name = flag.substr(0, flag.find('='));
  const auto found = std::ranges::find(kEquivalents, name, &Equivalent::theirs);
  if (found != kEquivalents.end()) {
    const bool is_flag = found->ours.starts_with("--");
    return Error(
        fmt::format("unknown option '{}'{}{}", name, is_flag ? "; here it is " : "", is_flag ? found->ours : ""),
        std::string(is_flag ? "vmm --help lists all options" : found->ours));
  }
  return Error(fmt::format("unknown option '{}'", name), "vmm --help lists all options");
}

Error refuse_verb(std::string_view verb) {
  if (std::ranges::find(kUnbuiltVerbs, verb) != kUnbuiltVerbs.end()) {
    return Error(fmt::format("'vmm {}' is not built yet", verb), "vmm --help lists what there is");
  }
  if (verb == "trace") {
    return Error("'vmm trace' is a flag of a run, which is traced from its start",
                 "vmm run --trace F.json ..., then vmm boot-report F.json");
  }
  const auto found = std::ranges::find(kEquivalentVerbs, verb, &Equivalent::theirs);
  if (found != kEquivalentVerbs.end()) {
    return Error(fmt::format("there is no 'vmm {}'", verb), std::string(found->ours));
  }
  const std::string word(verb);
  if (::access(word.c_str(), F_OK) == 0) {
    return Error(fmt::format("unknown argument '{}'", verb), fmt::format("if it is a kernel: vmm --kernel {}", verb));
  }
  return Error(fmt::format("unknown argument '{}'", verb),
               "a kernel goes to --kernel, what it is told to --append, a command behind --; vmm --help lists all");
}

}  // namespace vmm
