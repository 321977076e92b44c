// The words of a run; see banner.h.
#include "vmm/control/cli/banner.h"

#include <fmt/core.h>

#include <algorithm>
#include <string_view>

#include "vmm/core/log.h"
#include "vmm/machine/architecture.h"
#include "vmm/machine/board.h"

namespace vmm {

namespace {

// "18 412"
std::string grouped(uint64_t number) {
  std::string text = std::to_string(number);
  for (size_t at = text.size(); at > 3;) text.insert(at -= 3, " ");
  return text;
}

std::string balloon_text(const BalloonConfig& balloon) {
  return fmt::format("{}{}{}", size_text(balloon.size), balloon.deflate_on_oom ? "" : ", kept when memory runs out",
                     balloon.reporting ? ", freed pages reported" : "");
}

std::string kernel_text(const KernelFile& kernel) {
  return fmt::format("{} {}", kernel_kind_name(kernel.info().kind), kernel.info().summary);
}

}  // namespace

void print_banner(const MachineConfig& config, const Backends& backends, const std::string& escape) {
  std::string line = fmt::format("{} | {} vCPU{}, {}", kernel_text(backends.kernel), config.cpus,
                                 config.cpus == 1 ? "" : "s", size_text(config.memory));
  if (config.balloon && config.balloon->size > 0) line += fmt::format(" less {}", size_text(config.balloon->size));
  constexpr size_t kDisksNamed = 2;
  for (size_t i = 0; i < std::min(backends.disks.size(), kDisksNamed); ++i) {
    line += fmt::format(" | /dev/{} {}", disk_name(i), backends.disks[i].describe());
  }
  if (backends.disks.size() > kDisksNamed) line += fmt::format(" and {} more", backends.disks.size() - kDisksNamed);
  for (const Network& network : backends.networks) line += fmt::format(" | net {}", network.describe());
  if (backends.vsock) line += fmt::format(" | vsock {}", backends.vsock->describe());
  if (config.rootfs) line += fmt::format(" | / {}", backends.shares.front().describe());
  log_info("{}", line);
  for (const std::string& warning : backends.kernel.info().warnings) log_warn("the kernel {}", warning);
  if (backends.stdio() == nullptr) return;
  const bool serial = !config.serial.empty() && backends.stdio() == backends.serial.front().get();
  const std::string help = escape.empty() ? "" : fmt::format(" - press {0} h for help, {0} x to quit", escape);
  log_info("console {}0{}", serial ? kArchitecture.serial_console : "hvc", help);
}

void print_outcome(const Outcome& outcome, std::chrono::duration<double> after, uint64_t exits) {
  // A panic line has its own time: that of the panic. What says why something could not be done ends with the reason.
  const std::string when =
      outcome.kind == Outcome::Kind::kPanic || outcome.is_error()
          ? std::string()
          : fmt::format(" after {:.{}f} s ({} exits)", after.count(), after.count() < 10 ? 2 : 1, grouped(exits));
  log_info("{}{}", outcome.what, when);
  print_lines(outcome.details);
}

void print_lines(std::string_view text) {
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    log_line(LogLevel::kInfo, line.starts_with(' ') ? std::string(line) : fmt::format("  {}", line));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
}

// Backends that a vhost-user socket stands for may have been left out.
std::string describe_machine(const MachineConfig& config, const Backends& backends) {
  std::string text;
  const auto row = [&text](std::string_view label, const std::string& value) {
    text += fmt::format("{:<13} {}\n", label, value);
  };
  const KernelInfo& kernel = backends.kernel.info();
  row("kernel", fmt::format("{} ({})", config.kernel, kernel_text(backends.kernel)));
  for (const std::string& initrd : config.initrds) row("initrd", initrd);
  if (config.initrds.empty() && !backends.initrds.empty()) row("initrd", "made by vmm");
  row("command line", kernel_command_line(config, kernel.kind));
  row("cpus", fmt::format("{} ({})", config.cpus, config.cpu));
  row("memory", size_text(config.memory));
  if (config.balloon) row("balloon", balloon_text(*config.balloon));
  auto disk = backends.disks.begin();
  for (size_t i = 0; i < config.disks.size(); ++i) {
    const std::string& socket = config.disks[i].socket;
    const std::string what = socket.empty() ? (disk++)->describe() : "vhost-user " + socket;
    row("disk", fmt::format("/dev/{} {}", disk_name(i), what));
  }
  for (size_t i = 0; i < config.nets.size(); ++i) {
    const NetConfig& net = config.nets[i];
    const bool random = !net.mac && net.kind != NetConfig::Kind::kUser && net.kind != NetConfig::Kind::kTap;
    const std::string mac = random ? "chosen at start" : mac_for(net, i).text();
    row("network", net.kind == NetConfig::Kind::kNone ? "none" : fmt::format("{}, address {}", net.describe(), mac));
  }
  auto share = backends.shares.begin();
  for (const ShareConfig& shared : shared_directories(config)) {
    const bool is_root = config.rootfs && shared.tag == config.rootfs->tag;
    const std::string what = shared.socket.empty() ? (share++)->describe() : "vhost-user " + shared.socket;
    row(is_root ? "root" : "share", fmt::format("{} {}", shared.tag, what));
  }
  if (config.vsock) row("vsock", fmt::format("{} (cid {})", config.vsock->path, config.vsock->cid));
  for (size_t i = 0; i < config.serial.size(); ++i)
    row("serial", fmt::format("{}{} {}", kArchitecture.serial_console, i, config.serial[i].describe()));
  for (size_t i = 0; i < config.consoles.size(); ++i) {
    row("console", fmt::format("hvc{} {}", i, config.consoles[i].describe()));
  }
  if (config.debug_exit_port) row("debug exit", fmt::format("port {:#x}", *config.debug_exit_port));
  if (config.pc_testdev) row("pc-testdev", "for kvm-unit-tests");

  text += "memory map\n";
  for (const MapRow& part : memory_map_of(config)) {
    text += fmt::format("  {:#014x} - {:#014x}  {}\n", part.start, part.start + part.size - 1, part.what);
  }
  return text;
}

}  // namespace vmm
