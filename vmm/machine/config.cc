// Bounds, names and the default command line; see config.h.
#include "vmm/machine/config.h"

#include <fmt/format.h>

#include <algorithm>

#include "vmm/core/error.h"
#include "vmm/machine/architecture.h"

namespace vmm {

namespace {

void require_one_stdio(const MachineConfig& config) {
  const auto is_stdio = [](const CharConfig& console) { return console.kind == CharConfig::Kind::kStdio; };
  const auto consoles =
      std::ranges::count_if(config.serial, is_stdio) + std::ranges::count_if(config.consoles, is_stdio);
  if (consoles > 0 && config.command) {
    throw Error("the command in the guest has the standard streams, a console cannot share them",
                "give the console pty, unix=PATH, file=PATH or null");
  }
  if (consoles > 1) {
    throw Error("two consoles cannot share the standard streams", "give one of them pty, unix=PATH, file=PATH or null");
  }
}

void require_none_alone(const MachineConfig& config) {
  const auto is_none = [](const NetConfig& net) { return net.kind == NetConfig::Kind::kNone; };
  if (config.nets.size() > 1 && std::ranges::any_of(config.nets, is_none)) {
    throw Error("--net none and another network contradict each other", "leave one of them out");
  }
}

void require_different_ports(const MachineConfig& config) {
  std::vector<PortForward> seen;
  for (const NetConfig& net : config.nets) {
    for (const PortForward& forward : net.forwards) {
      const auto is_all = [](const std::string& address) { return address == "0.0.0.0" || address == "::"; };
      const bool twice = std::ranges::any_of(seen, [&](const PortForward& other) {
        return other.host_port == forward.host_port &&
               (other.address == forward.address || is_all(other.address) || is_all(forward.address));
      });
      if (twice) {
        throw Error(
            fmt::format("--net: the host's port {} is forwarded twice", forward.host_port),
            fmt::format("fwd={}:{}", forward.host_port == 65535 ? 65534 : forward.host_port + 1, forward.guest_port));
      }
      seen.push_back(forward);
    }
  }
}

// Whether one of the words that the user adds is KEY=...
bool said(const MachineConfig& config, std::string_view key) {
  return std::ranges::any_of(config.append, [key](const std::string& words) {
    return words.starts_with(key) || words.find(" " + std::string(key)) != std::string::npos;
  });
}

void require_different_tags(const MachineConfig& config) {
  std::vector<std::string> tags;
  for (const ShareConfig& share : shared_directories(config)) {
    if (std::ranges::find(tags, share.tag) != tags.end()) {
      throw Error(
          fmt::format("two shared directories are both called '{}'", share.tag),
          fmt::format("--share {}:ANOTHER-NAME", share.socket.empty() ? share.path : "vhost-user=" + share.socket));
    }
    tags.push_back(share.tag);
  }
}

}  // namespace

void validate(const MachineConfig& config) {
  if (config.cpus < 1 || config.cpus > kArchitecture.max_cpus) {
    throw Error(fmt::format("{} vCPUs are not possible: this machine has 1 to {}", config.cpus, kArchitecture.max_cpus),
                fmt::format("--cpus {}", config.cpus < 1 ? 1 : kArchitecture.max_cpus));
  }
  if (config.memory < kMinMemory || config.memory > kMaxMemory) {
    throw Error(fmt::format("{} of memory is not possible: this machine has 32 MiB to 4 TiB", size_text(config.memory)),
                config.memory < kMinMemory ? "--mem 32M" : "--mem 4T");
  }
  if (config.memory % 4096 != 0) {
    throw Error(fmt::format("{} bytes of memory are no whole number of 4 KiB pages", config.memory),
                fmt::format("--mem {}K", (config.memory / 4096 + 1) * 4));
  }
  if (config.balloon) require_balloon_fits(config.balloon->size, config.memory);
  if (config.serial.size() > kArchitecture.max_serial) {
    throw Error(fmt::format("{} serial ports are too many: this machine has {}", config.serial.size(),
                            kArchitecture.max_serial),
                "use --console for further ones");
  }
  if (config.debug_exit_port && !kArchitecture.has_ports) {
    throw Error(fmt::format("--debug-exit: {} has no ports", kArchitecture.name),
                "power off, or run a command: -- CMD");
  }
  if (config.pc_testdev && !kArchitecture.has_ports) {
    throw Error(fmt::format("--pc-testdev: {} has no ports", kArchitecture.name), "leave it out");
  }
  require_one_stdio(config);
  require_none_alone(config);
  require_different_tags(config);
  require_different_ports(config);
}

std::string kernel_command_line(const MachineConfig& config, KernelKind kind) {
  if (config.command_line) return *config.command_line;
  std::vector<std::string> words;
  const bool linux = kind != KernelKind::kMultiboot;
  if (linux && !said(config, "console=")) {
    if (!config.serial.empty()) words.push_back(fmt::format("console={}0", kArchitecture.serial_console));
    if (!config.consoles.empty()) words.emplace_back("console=hvc0");
    // The last one becomes /dev/console, where init and its shell are: the one that a person sits at.
    const bool serial_is_stdio = !config.serial.empty() && config.serial.front().kind == CharConfig::Kind::kStdio;
    if (serial_is_stdio) std::ranges::reverse(words);
  }
  if (linux && !said(config, "root=")) {
    if (config.rootfs) {
      words.push_back(
          fmt::format("rootfstype=virtiofs root={} {}", config.rootfs->tag, config.rootfs->read_only ? "ro" : "rw"));
    } else if (!config.disks.empty()) {
      words.emplace_back(config.disks.front().read_only ? "root=/dev/vda ro" : "root=/dev/vda rw");
    }
  }
  for (const std::string& text : config.append) {
    if (!text.empty()) words.push_back(text);
  }
  return fmt::format("{}", fmt::join(words, " "));
}

std::vector<ShareConfig> shared_directories(const MachineConfig& config) {
  std::vector<ShareConfig> all;
  if (config.rootfs) all.push_back(*config.rootfs);
  all.insert(all.end(), config.shares.begin(), config.shares.end());
  return all;
}

bool shares_memory(const MachineConfig& config) {
  const std::vector<ShareConfig> shares = shared_directories(config);
  return std::ranges::any_of(config.disks, [](const DiskConfig& disk) { return !disk.socket.empty(); }) ||
         std::ranges::any_of(config.nets,
                             [](const NetConfig& net) { return net.kind == NetConfig::Kind::kVhostUser; }) ||
         std::ranges::any_of(shares, [](const ShareConfig& share) { return !share.socket.empty(); });
}

std::string disk_name(size_t index) {
  // As Linux counts (drivers/block/virtio_blk.c, virtblk_name_format): bijective base 26.
  std::string letters;
  for (size_t rest = index + 1; rest > 0; rest = (rest - 1) / 26) {
    letters.insert(letters.begin(), static_cast<char>('a' + (rest - 1) % 26));
  }
  return "vd" + letters;
}

std::string size_text(uint64_t bytes) {
  constexpr std::string_view kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  auto value = static_cast<double>(bytes);
  for (; value >= 1024 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  return value == static_cast<double>(static_cast<uint64_t>(value)) ? fmt::format("{:.0f} {}", value, kUnits[unit])
                                                                    : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

}  // namespace vmm
