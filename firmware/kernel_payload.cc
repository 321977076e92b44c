// Unpacking, and the search for names; see kernel_payload.h.
#include "firmware/kernel_payload.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

#include "firmware/decompress.h"
#include "firmware/elf_kernel.h"
#include "vmm/core/error.h"

namespace vmm {
namespace {

using namespace std::string_view_literals;

constexpr size_t kLargestConfig = 4 << 20;
constexpr size_t kLongestName = 64;  // longer than any that is searched for

constexpr std::string_view kBanner = "Linux version ";  // init/version.c
constexpr std::string_view kConfigStart = "IKCFG_ST";   // kernel/configs.c
constexpr std::string_view kConfigEnd = "IKCFG_ED";

// Names that are in an image exactly if the part is built in: of a PCI driver or a virtio driver, of a parameter (which
// has the module's name before it only when built in), of a slab cache.
struct Part {
  std::string_view name;
  bool file_system;
  std::string_view option;
  std::array<std::string_view, 2> traces;
};
constexpr std::array kParts = std::to_array<Part>({
    {"virtio_pci", false, "CONFIG_VIRTIO_PCI", {"\0virtio-pci\0"sv, "\0virtio_pci.force_legacy\0"sv}},
    {"virtio_blk", false, "CONFIG_VIRTIO_BLK", {"\0virtio_blk\0"sv, "\0virtio_blk.queue_depth\0"sv}},
    {"nvme", false, "CONFIG_BLK_DEV_NVME", {"\0nvme.use_threaded_interrupts\0"sv, "\0nvme.io_queue_depth\0"sv}},
    {"ext4", true, "CONFIG_EXT4_FS", {"\0ext4_inode_cache\0"sv, {}}},
    {"xfs", true, "CONFIG_XFS_FS", {"\0xfs_inode\0"sv, {}}},
    {"btrfs", true, "CONFIG_BTRFS_FS", {"\0btrfs_inode\0"sv, {}}},
    {"squashfs", true, "CONFIG_SQUASHFS", {"\0squashfs_inode_cache\0"sv, {}}},
});
constexpr std::array kDiskDrivers = {"virtio_pci"sv, "virtio_blk"sv};

bool contains(std::string_view text, std::string_view needle) {
  return ::memmem(text.data(), text.size(), needle.data(), needle.size()) != nullptr;
}

// What the kernel loads, in windows that overlap by more than any name, until `look` has seen enough. It gets a window
// and its offset in the file, and says whether to go on.
template <typename Look>
void scan(const ByteSource& file, const std::vector<Segment>& segments, Look look) {
  constexpr size_t kWindow = 1 << 20;
  uint64_t budget = kLargestKernel;
  for (const Segment& segment : segments) {
    uint64_t length = std::min(segment.file_size, budget);
    budget -= length;
    for (uint64_t offset = segment.file_offset;;) {
      const std::string window = file.read_text(offset, std::min<uint64_t>(kWindow, length));
      if (!look(window, offset)) return;
      if (window.size() < kWindow) break;
      offset += kWindow - kLongestName;
      length -= kWindow - kLongestName;
    }
  }
}

std::string printable_word(std::string_view text) {
  const auto end = std::find_if(text.begin(), text.end(), [](char c) { return c <= ' ' || c > '~'; });
  return {text.begin(), end};
}

struct Landmarks {
  std::optional<uint64_t> banner, config;
};

Landmarks find_landmarks(const ByteSource& file, const std::vector<Segment>& segments) {
  Landmarks found;
  scan(file, segments, [&](std::string_view window, uint64_t offset) {
    const auto note = [&](std::optional<uint64_t>& place, std::string_view name) {
      const size_t position = place ? std::string_view::npos : window.find(name);
      if (position != std::string_view::npos) place = offset + position + name.size();
    };
    note(found.banner, kBanner);
    note(found.config, kConfigStart);
    return !found.banner || !found.config;
  });
  return found;
}

// The text of .config; nothing when what follows the mark is not one.
std::optional<std::string> read_config(const ByteSource& file, uint64_t offset) {
  const std::string packed = file.read_text(offset, kLargestConfig);
  const size_t end = packed.find(kConfigEnd);
  if (end == std::string::npos || !packed.starts_with("\x1f\x8b")) return std::nullopt;
  try {
    const Bytes text = decompress({reinterpret_cast<const uint8_t*>(packed.data()), end}, kLargestConfig);
    return "\n" + std::string(text.begin(), text.end());
  } catch (const Error&) {
    return std::nullopt;
  }
}

void learn_from_config(KernelFacts& facts, std::string_view config) {
  const auto is_set = [&](std::string_view option) { return contains(config, fmt::format("\n{}=y\n", option)); };
  facts.from_config = true;
  facts.takes_initrd = is_set("CONFIG_BLK_DEV_INITRD");
  facts.own_initramfs =
      contains(config, "\nCONFIG_INITRAMFS_SOURCE=\"") && !contains(config, "\nCONFIG_INITRAMFS_SOURCE=\"\"");
  for (const Part& part : kParts) {
    if (is_set(part.option)) facts.built_in.push_back(part.name);
  }
}

void learn_from_names(KernelFacts& facts, const ByteSource& file, const std::vector<Segment>& segments) {
  std::array<bool, kParts.size()> found{};
  scan(file, segments, [&](std::string_view window, uint64_t) {
    for (size_t index = 0; index < kParts.size(); ++index) {
      for (const std::string_view trace : kParts[index].traces) {
        found[index] = found[index] || (!trace.empty() && contains(window, trace));
      }
    }
    return true;
  });
  for (size_t index = 0; index < kParts.size(); ++index) {
    if (found[index]) facts.built_in.push_back(kParts[index].name);
  }
}

std::string join(const std::vector<std::string_view>& names) {
  if (names.size() < 2) return fmt::format("{}", fmt::join(names, ""));
  return fmt::format("{} and {}", fmt::join(names.begin(), names.end() - 1, ", "), names.back());
}

}  // namespace

bool KernelFacts::has(std::string_view part) const {
  return std::find(built_in.begin(), built_in.end(), part) != built_in.end();
}

KernelFacts facts_of_vmlinux(const ByteSource& vmlinux) {
  const auto contents = read_elf_contents(vmlinux);
  KernelFacts facts = facts_of_code(vmlinux, contents.segments);
  facts.pvh_entry = contents.pvh_entry;
  return facts;
}

std::string release_in(const ByteSource& file, const std::vector<Segment>& segments) {
  std::optional<uint64_t> banner;
  scan(file, segments, [&banner](std::string_view window, uint64_t offset) {
    const size_t position = window.find(kBanner);
    if (position != std::string_view::npos) banner = offset + position + kBanner.size();
    return !banner;
  });
  return banner ? printable_word(file.read_text(*banner, kLongestName)) : std::string();
}

KernelFacts facts_of_code(const ByteSource& file, const std::vector<Segment>& segments) {
  KernelFacts facts;
  const Landmarks found = find_landmarks(file, segments);
  if (found.banner) facts.release = printable_word(file.read_text(*found.banner, kLongestName));
  if (facts.release.empty()) throw Error("it is no Linux kernel");
  const auto config = found.config ? read_config(file, *found.config) : std::nullopt;
  if (config) {
    learn_from_config(facts, *config);
  } else {
    learn_from_names(facts, file, segments);
  }
  return facts;
}

std::string needs_initrd(const KernelFacts& facts) {
  if (facts.own_initramfs) return "no: an initramfs is built in";
  std::vector<std::string_view> missing, file_systems, known_file_systems;
  for (const std::string_view driver : kDiskDrivers) {
    if (!facts.has(driver)) missing.push_back(driver);
  }
  for (const Part& part : kParts) {
    if (!part.file_system) continue;
    known_file_systems.push_back(part.name);
    if (facts.has(part.name)) file_systems.push_back(part.name);
  }
  if (missing.empty() && !file_systems.empty()) {
    std::vector<std::string_view> all(kDiskDrivers.begin(), kDiskDrivers.end());
    all.insert(all.end(), file_systems.begin(), file_systems.end());
    return fmt::format("no: {} are built in", join(all));
  }
  const std::string why = missing.empty() ? fmt::format("none of {} is built in", join(known_file_systems))
                                          : fmt::format("no built-in {}{}", fmt::join(missing, " or "),
                                                        facts.has("nvme") ? " (nvme is built in)" : "");
  if (!facts.takes_initrd) return fmt::format("it takes none (no CONFIG_BLK_DEV_INITRD), and {}", why);
  return fmt::format("yes, for a virtio disk: {}", why);
}

std::vector<std::pair<std::string, std::string>> describe_facts(const KernelFacts& facts) {
  const std::string built_in = facts.built_in.empty() ? "no driver or file system for a root disk"
                                                      : fmt::format("{}", fmt::join(facts.built_in, ", "));
  const char* source = facts.from_config ? "by its configuration" : "by names in it";
  return {{"built in", fmt::format("{} ({})", built_in, source)}, {"needs initrd", needs_initrd(facts)}};
}

}  // namespace vmm
