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
#include <span>
#include <string_view>

#include "firmware/byte_source.h"
#include "firmware/decompress.h"
#include "firmware/initramfs.h"
#include "vmm/core/error.h"
#include "vmm/core/log.h"
#include "vmm/core/new_file.h"
#include "vmm/machine/kernel_modules.h"

namespace vmm {

namespace {

using namespace std::string_view_literals;

// No module comes near it; whatever does is none.
constexpr uint64_t kMaxModule = uint64_t{64} << 20;

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

// A compressed one is unpacked here: not every kernel can do it.
std::vector<std::byte> read_module(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) throw Error(fmt::format("cannot open module '{}': {}", path, errno_text(errno)));
  const FileSource source(fd.get(), path);
  if (source.size() > kMaxModule) throw Error(fmt::format("'{}' is too large to be a module", path));
  std::vector<std::byte> content(source.size());
  content.resize(source.read_at(0, content));
  if (path.ends_with(".ko")) return content;
  const std::span packed(reinterpret_cast<const uint8_t*>(content.data()), content.size());
  const Bytes unpacked = decompress_stream(packed, kMaxModule);
  const auto bytes = std::as_bytes(std::span(unpacked));
  return {bytes.begin(), bytes.end()};
}

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
  // The power button is ACPI's, or keys of a GPIO chip; evdev hands either to those who listen.
  WantedModules wanted{.required = {"virtio_pci"}, .helpful = {"virtio_rng", "button", "gpio_keys", "evdev"}};
  if (!config.disks.empty()) {
    wanted.required.emplace_back("virtio_blk");
    // One that is not recognised may yet be known to the kernel.
    if (const auto found = file_system_on(config.disks.front().path)) wanted.helpful.push_back(*found);
  }
  // The root may have no modules of this kernel.
  if (std::ranges::any_of(config.nets, [](const NetConfig& net) { return net.kind != NetConfig::Kind::kNone; })) {
    wanted.helpful.emplace_back("virtio_net");
  }
  if (config.rootfs || !config.shares.empty()) wanted.required.emplace_back("virtiofs");
  if (config.command || !config.consoles.empty()) wanted.required.emplace_back("virtio_console");
  return wanted;
}

std::optional<std::string> file_system_on(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return std::nullopt;
  for (const Superblock& known : kSuperblocks) {
    std::array<char, 8> bytes{};
    const auto length = static_cast<ssize_t>(known.magic.size());
    if (::pread(fd.get(), bytes.data(), known.magic.size(), static_cast<off_t>(known.offset)) == length &&
        std::string_view(bytes.data(), known.magic.size()) == known.magic) {
      return std::string(known.file_system);
    }
  }
  return std::nullopt;
}

bool needs_initrd(const MachineConfig& config, const std::string& release) {
  if (config.disks.empty() && !config.rootfs) return false;
  const auto modules = find_modules(config, release);
  const auto files = modules ? modules->files_for(config.rootfs ? "virtiofs" : "virtio_blk") : std::nullopt;
  return files && !files->empty();
}

UniqueFd make_initrd(const MachineConfig& config, const std::string& release) {
  Initramfs archive;
  for (const char* folder : {"dev", "proc", "sys", "root"}) archive.add_directory(folder);
  archive.add_device("dev/console", 5, 1);  // where the kernel opens init's streams
  archive.add_file("init", guest_init(), 0755);
  if (config.command) archive.add_file("command", {});
  add_modules(archive, config, release);
  return as_file(archive.finish());
}

}  // namespace vmm
