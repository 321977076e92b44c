// Choosing modules and packing them; see auto_initrd.h.
#include "vmm/machine/auto_initrd.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <span>
#include <sstream>
#include <string_view>

#include "firmware/byte_source.h"
#include "firmware/initramfs.h"
#include "vmm/core/error.h"
#include "vmm/core/log.h"
#include "vmm/core/new_file.h"
#include "vmm/machine/device_table.h"
#include "vmm/machine/kernel_modules.h"
#include "vmm/machine/module_info.h"

namespace vmm {

namespace {

using namespace std::string_view_literals;

struct Superblock {
  uint64_t offset;
  std::string_view magic;
  std::string_view file_system;
};

constexpr auto kSuperblocks = std::to_array<Superblock>({
    {0, "XFSB"sv, "xfs"},
    {0, "hsqs"sv, "squashfs"},
    {0x400, "\xe2\xe1\xf5\xe0"sv, "erofs"},
    {0x400, "\x10\x20\xf5\xf2"sv, "f2fs"},
    {0x438, "\x53\xef"sv, "ext4"},
    {0x8001, "CD001"sv, "isofs"},
    {0x10040, "_BHRfS_M"sv, "btrfs"},
});

// Modules and the list of their order, in which each stands behind what it needs.
class ModuleFolder {
 public:
  ModuleFolder(Initramfs& archive, const KernelModules& modules) : archive_(archive), modules_(modules) {
    archive_.add_directory("modules");
  }

  // False when there is no such module.
  bool add(const std::string& module) {
    const auto files = modules_.files_for(module);
    if (!files) return false;
    for (const std::string& path : *files) add_file(path);
    return true;
  }

  void finish() { archive_.add_file("modules/order", std::as_bytes(std::span(order_))); }

 private:
  void add_file(const std::string& path) {
    std::string name = path.substr(path.rfind('/') + 1);
    name.resize(std::min(name.size(), name.find(".ko"))), name += ".ko";
    if (std::ranges::find(added_, name) != added_.end()) return;
    try {
      archive_.add_file("modules/" + name, read_module(path));
    } catch (const Error& error) {
      throw Error(fmt::format("cannot take module '{}' along: {}", path, error.what()),
                  "pass an initrd of your own with --initrd");
    }
    added_.push_back(name);
    order_ += name + "\n";
  }

  Initramfs& archive_;
  const KernelModules& modules_;
  std::vector<std::string> added_;
  std::string order_;
};

// Shorter when there is no more.
std::string text_at(int fd, uint64_t offset, size_t size) {
  std::string text(size, '\0');
  const ssize_t got = ::pread(fd, text.data(), size, static_cast<off_t>(std::min<uint64_t>(offset, INT64_MAX)));
  text.resize(got < 0 ? 0 : static_cast<size_t>(got));
  return text;
}

template <typename T>
T value_in(const std::string& text, size_t offset) {
  T value{};
  if (offset + sizeof value <= text.size()) std::memcpy(&value, text.data() + offset, sizeof value);
  return value;
}

// The start of the disk, and of each partition: the four of an MBR, or those of a GPT (UEFI 2.10 §5.2 and §5.3).
std::vector<uint64_t> places_of_file_systems(int fd) {
  constexpr size_t kSector = 512, kMbrEntries = 446, kMbrEntry = 16, kMaxEntries = 128;
  std::vector<uint64_t> places{0};
  const std::string header = text_at(fd, kSector, kSector);
  if (header.starts_with("EFI PART")) {
    const auto size = value_in<uint32_t>(header, 84);
    const auto count = std::min<size_t>(value_in<uint32_t>(header, 80), kMaxEntries);
    const auto entries = value_in<uint64_t>(header, 72);
    for (size_t i = 0; size >= kMaxEntries && entries < INT64_MAX / kSector && i < count; ++i) {
      const auto start = value_in<uint64_t>(text_at(fd, entries * kSector + i * size, kMaxEntries), 32);
      if (start != 0 && start < INT64_MAX / kSector) places.push_back(start * kSector);
    }
    return places;
  }
  const std::string mbr = text_at(fd, 0, kSector);
  if (!mbr.ends_with("\x55\xaa")) return places;
  for (size_t i = 0; i < 4; ++i) {
    const auto start = value_in<uint32_t>(mbr, kMbrEntries + i * kMbrEntry + 8);
    if (start != 0) places.push_back(uint64_t{start} * kSector);
  }
  return places;
}

// The value of the last root= there; empty when there is none.
std::string root_on_command_line(const MachineConfig& config) {
  std::istringstream words(kernel_command_line(config, KernelKind::kBzImage));
  std::string root;
  for (std::string word; words >> word;) {
    if (word.starts_with("root=")) root = word.substr(5);
  }
  return root;
}

// File systems that a root on a disk may have. Another program's disk, or one of a name that tells nothing, may be any.
std::vector<std::string> root_file_systems(const MachineConfig& config) {
  std::vector<std::string> found;
  if (config.rootfs) return found;
  const std::string root = root_on_command_line(config);
  for (size_t i = 0; i < config.disks.size(); ++i) {
    const std::string device = "/dev/" + disk_name(i);
    const std::string rest = root.starts_with(device) ? root.substr(device.size()) : "another";
    const bool is_root = rest.find_first_not_of("0123456789") == std::string::npos;
    if (root.starts_with("/dev/vd") && !is_root) continue;
    for (std::string& name : file_systems_on(config.disks[i].path)) found.push_back(std::move(name));
  }
  return found;
}

// Where the init mounts something of the guest's own (firmware/guest/init.c).
bool hidden_in_guest(const std::string& directory) {
  constexpr std::array<std::string_view, 4> kOfTheGuest{"/dev/", "/run/", "/tmp/", "/var/tmp/"};
  return std::ranges::any_of(kOfTheGuest, [&](std::string_view place) { return (directory + "/").starts_with(place); });
}

// The release is a part of paths, and comes from a file that may not mean well.
std::optional<KernelModules> find_modules(const MachineConfig& config, const std::string& release) {
  if (release.empty() || release.find('/') != std::string::npos || release == "..") return std::nullopt;
  return KernelModules::find(release, config.modules);
}

void add_modules(Initramfs& archive, const MachineConfig& config, const std::string& release) {
  const auto modules = find_modules(config, release);
  if (!modules) {
    if (!config.modules.empty()) {
      throw Error(fmt::format("'{}' has no modules of this kernel, {}", config.modules, release),
                  fmt::format("pass the folder that holds lib/modules/{}", release));
    }
    log_debug("there is no /lib/modules/{}: drivers are taken to be built in", release);
    return;
  }
  ModuleFolder folder(archive, *modules);
  const WantedModules wanted = modules_for(config);
  for (const std::string& module : wanted.required) {
    if (!folder.add(module)) {
      throw Error(fmt::format("kernel {} has no {}, neither built in nor in {}", release, module, modules->folder()),
                  "pass the folder of its modules with --modules, or an initrd with --initrd");
    }
  }
  for (const std::string& module : wanted.helpful) folder.add(module);
  folder.finish();
}

UniqueFd as_file(std::span<const std::byte> bytes) {
  UniqueFd fd(::memfd_create("initrd", MFD_CLOEXEC));
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t written = fd ? ::write(fd.get(), bytes.data() + done, bytes.size() - done) : -1;
    if (written < 0 && errno != EINTR) {
      throw Error("cannot keep the initrd in memory: " + errno_text(errno),
                  fix_for_growth(errno, "pass an initrd of your own with --initrd"));
    }
    done += written < 0 ? 0 : static_cast<size_t>(written);
  }
  return fd;
}

}  // namespace

WantedModules modules_for(const MachineConfig& config) {
  WantedModules wanted{.required = {"virtio_pci"}, .helpful = {}};
  // The root may have what is not essential, or no modules of this kernel.
  for (const DeviceKind& kind : device_table()) {
    if (kind.wanted(config)) (kind.essential ? wanted.required : wanted.helpful).emplace_back(kind.driver);
  }
  // A file system that is not recognised may yet be known to the kernel.
  for (std::string& found : root_file_systems(config)) wanted.helpful.push_back(std::move(found));
  // The power button is ACPI's, or keys of a GPIO chip; evdev hands either to those who listen.
  for (const char* module : {"button", "gpio_keys", "evdev"}) wanted.helpful.emplace_back(module);
  // The init lays one over the directory where the command starts, when that is in a place of the guest's own.
  if (config.command && config.rootfs && hidden_in_guest(config.command->directory)) {
    wanted.helpful.emplace_back("overlay");
  }
  return wanted;
}

std::vector<std::string> file_systems_on(const std::string& path) {
  std::vector<std::string> found;
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return found;
  for (const uint64_t start : places_of_file_systems(fd.get())) {
    const auto known = std::ranges::find_if(kSuperblocks, [&](const Superblock& superblock) {
      return text_at(fd.get(), start + superblock.offset, superblock.magic.size()) == superblock.magic;
    });
    if (known == kSuperblocks.end()) continue;
    if (std::ranges::find(found, known->file_system) == found.end()) found.emplace_back(known->file_system);
  }
  return found;
}

bool needs_initrd(const MachineConfig& config, const std::string& release) {
  if (config.disks.empty() && !config.rootfs) return false;
  const std::string root = root_on_command_line(config);
  // The kernel itself looks for a partition, but for no file system, by what is written in it.
  if (root.starts_with("UUID=") || root.starts_with("LABEL=")) return true;
  const auto modules = find_modules(config, release);
  if (!modules) return false;
  std::vector<std::string> way{"virtio_pci", config.rootfs ? "virtiofs" : "virtio_blk"};
  for (std::string& found : root_file_systems(config)) way.push_back(std::move(found));
  return std::ranges::any_of(way, [&](const std::string& module) {
    const auto files = modules->files_for(module);
    return files && !files->empty();
  });
}

UniqueFd make_initrd(const MachineConfig& config, const std::string& release) {
  Initramfs archive;
  for (const char* folder : {"dev", "proc", "sys", "root"}) archive.add_directory(folder);
  archive.add_device("dev/console", 5, 1);  // where the kernel opens init's streams
  archive.add_file("init", guest_init(), 0755);
  if (config.command) archive.add_file("command", std::as_bytes(std::span(config.command->directory)));
  add_modules(archive, config, release);
  return as_file(archive.finish());
}

}  // namespace vmm
