// The words of --disk, taken apart, and the stack of storage that they ask for; see disk.h.
#include "devices/backends/disk/disk.h"

#include <fmt/core.h>
#include <linux/virtio_blk.h>

#include <array>
#include <charconv>
#include <optional>
#include <utility>
#include <vector>

#include "devices/backends/disk/image_file.h"
#include "devices/backends/disk/image_lock.h"
#include "devices/backends/disk/overlay.h"
#include "devices/backends/disk/raw_file.h"
#include "devices/backends/option_list.h"
#include "vmm/core/error.h"

namespace vmm {

namespace {

constexpr unsigned kMaxQueues = 256;

[[noreturn]] void refuse(std::string_view option, std::string_view why, std::string fix) {
  throw Error(fmt::format("--disk: '{}': {}", option, why), std::move(fix));
}

unsigned number(std::string_view option, std::string_view value, std::string_view why) {
  unsigned result = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), result);
  if (error != std::errc() || end != value.data() + value.size()) refuse(option, why, {});
  return result;
}

void set_serial(DiskConfig& config, std::string_view option, std::string_view value) {
  if (value.size() > VIRTIO_BLK_ID_BYTES) refuse(option, "a serial has at most 20 bytes", {});
  config.serial = value;
}

void set_sparse(DiskConfig& config, std::string_view option, std::string_view value) {
  if (value != "on" && value != "off") refuse(option, "neither on nor off", "sparse=on or sparse=off");
  config.sparse = value == "on";
}

void set_queues(DiskConfig& config, std::string_view option, std::string_view value) {
  constexpr std::string_view kWhy = "the number of queues is 1 to 256";
  const unsigned queues = number(option, value, kWhy);
  if (queues < 1 || queues > kMaxQueues) refuse(option, kWhy, {});
  config.queues = static_cast<uint16_t>(queues);
}

void set_block_size(DiskConfig& config, std::string_view option, std::string_view value) {
  if (value != "512" && value != "4096")
    refuse(option, "a block has 512 or 4096 bytes", "block-size=512 or block-size=4096");
  config.block_size = number(option, value, {});
}

void check_format(DiskConfig&, std::string_view option, std::string_view value) {
  if (value != "raw") {
    refuse(option, "vmm reads raw images only", fmt::format("qemu-img convert -f {} -O raw IMAGE disk.img", value));
  }
}

void check_interface(DiskConfig&, std::string_view option, std::string_view value) {
  if (value != "virtio") refuse(option, "disks are virtio only", "drop it, or if=virtio");
}

struct Option {
  std::string_view name;
  void (*set)(DiskConfig&, std::string_view option, std::string_view value);
};

constexpr std::array kFlags{
    std::pair<std::string_view, bool DiskConfig::*>{"ro", &DiskConfig::read_only},
    std::pair<std::string_view, bool DiskConfig::*>{"ephemeral", &DiskConfig::ephemeral},
    std::pair<std::string_view, bool DiskConfig::*>{"direct", &DiskConfig::direct},
};

constexpr std::array kOptions{
    Option{"serial", set_serial},         Option{"sparse", set_sparse},   Option{"queues", set_queues},
    Option{"block-size", set_block_size}, Option{"format", check_format}, Option{"if", check_interface},
};

void apply_option(DiskConfig& config, std::string_view option) {
  if (!config.socket.empty() && !option.starts_with("queues=")) {
    refuse(option, "of a vhost-user disk only the number of queues can be said; its back-end decides the rest",
           "queues=N, or tell the back-end");
  }
  for (const auto& [name, member] : kFlags) {
    if (option == name) {
      config.*member = true;
      return;
    }
  }
  const size_t equals = option.find('=');
  for (const Option& known : kOptions) {
    if (equals != option.npos && option.substr(0, equals) == known.name) {
      known.set(config, option, option.substr(equals + 1));
      return;
    }
  }
  refuse(option, "unknown option",
         "ro, ephemeral, direct, serial=S, sparse=on|off, queues=N, block-size=512|4096, format=raw; "
         "a comma in the file's name is doubled");
}

}  // namespace

DiskConfig DiskConfig::parse(std::string_view text) {
  const std::vector<std::string> parts = split_options(text);
  DiskConfig config;
  constexpr std::string_view kSocket = "vhost-user=";
  const bool is_socket = parts[0].starts_with(kSocket);
  (is_socket ? config.socket : config.path) = parts[0].substr(is_socket ? kSocket.size() : 0);
  if (is_socket && config.socket.empty()) throw Error("--disk: no socket given", "--disk vhost-user=SOCKET[,queues=N]");
  if (!is_socket && config.path.empty()) throw Error("--disk: no file given", "--disk FILE[,ro][,ephemeral]...");
  for (size_t i = 1; i < parts.size(); ++i) apply_option(config, parts[i]);
  if (config.read_only && config.ephemeral) {
    throw Error("--disk: ro and ephemeral exclude each other",
                "ro refuses writes; ephemeral throws them away at the end");
  }
  return config;
}

std::unique_ptr<BlockBackend> open_disk(const DiskConfig& config, IoEngine& engine) {
  const bool writes = !config.read_only && !config.ephemeral;
  const auto sparse = config.sparse ? RawFile::Sparse::kGiveBack : RawFile::Sparse::kKeep;
  ImageFile image = ImageFile::open(config.path, writes ? ImageFile::Mode::kReadWrite : ImageFile::Mode::kReadOnly,
                                    config.direct ? ImageFile::Cache::kDirect : ImageFile::Cache::kHost);
  ImageLock lock(config.path, image.fd.get(), writes ? ImageLock::Access::kWrite : ImageLock::Access::kRead);
  auto file = std::make_unique<RawFile>(engine, std::move(image), std::move(lock), sparse);
  if (!config.ephemeral) return file;
  auto scratch = std::make_unique<RawFile>(engine, ImageFile::temporary(file->size(), config.path), std::nullopt,
                                           RawFile::Sparse::kGiveBack);
  return std::make_unique<Overlay>(std::move(file), std::move(scratch));
}

}  // namespace vmm
