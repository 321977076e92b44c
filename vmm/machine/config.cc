// Bounds and the default command line; see config.h.
#include "vmm/machine/config.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include "vmm/core/error.h"

namespace vmm {

void validate(const MachineConfig& config) {
  if (config.cpus < 1 || config.cpus > kMaxCpus) {
    throw Error(fmt::format("{} vCPUs are not possible: this machine has 1 to {}", config.cpus, kMaxCpus),
                fmt::format("--cpus {}", config.cpus < 1 ? 1 : kMaxCpus));
  }
  if (config.memory < kMinMemory || config.memory > kMaxMemory) {
    throw Error(fmt::format("{} bytes of memory are not possible: this machine has 32 MiB to 4 TiB", config.memory),
                "--mem 1G");
  }
  if (config.memory % 4096 != 0) {
    throw Error(fmt::format("{} bytes of memory are no whole number of 4 KiB pages", config.memory), "--mem 1G");
  }
  if (config.serial.size() > 4) {
    throw Error(fmt::format("{} serial ports are too many: a PC has four", config.serial.size()),
                "use --console for further ones");
  }
}

std::string kernel_command_line(const MachineConfig& config) {
  if (config.command_line) return *config.command_line;
  std::string line;
  const auto add = [&line](std::string_view words) {
    if (words.empty()) return;
    if (!line.empty()) line += ' ';
    line += words;
  };
  const auto said = [&config](std::string_view key) {
    for (const std::string& words : config.append) {
      if (words.starts_with(key) || words.find(" " + std::string(key)) != std::string::npos) return true;
    }
    return false;
  };
  if (!said("console=")) {
    if (!config.consoles.empty()) add("console=hvc0");
    if (!config.serial.empty()) add("console=ttyS0");
  }
  if (!config.disks.empty() && !said("root=")) add(config.disks.front().read_only ? "root=/dev/vda ro" : "root=/dev/vda rw");
  for (const std::string& words : config.append) add(words);
  return line;
}

}  // namespace vmm
