// Opening what the configuration names; see backends.h.
#include "vmm/machine/backends.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <tuple>
#include <utility>

#include "devices/backends/disk/disk.h"
#include "devices/backends/share/shared_folder.h"
#include "devices/backends/vsock/vsock_host.h"
#include "devices/virtio/vhost_user.h"
#include "firmware/byte_source.h"
#include "vmm/core/error.h"
#include "vmm/core/log.h"
#include "vmm/machine/auto_initrd.h"

namespace vmm {

namespace {

// "FILE ARGUMENTS" is taken for that by Multiboot kernels alone, unless there is a file with all of the name.
std::string file_of(const std::string& text, KernelKind kind) {
  const bool has_arguments = kind == KernelKind::kMultiboot && ::access(text.c_str(), F_OK) != 0;
  return has_arguments ? text.substr(0, text.find(' ')) : text;
}

BootFile open_initrd(const std::string& text, KernelKind kind) {
  const std::string path = file_of(text, kind);
  // O_NONBLOCK: a FIFO must not keep us waiting; it is refused below.
  BootFile file{.fd = UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)), .text = text};
  if (!file.fd) {
    throw Error(fmt::format("cannot open initrd '{}': {}", path, errno_text(errno)),
                "pass a file that can be read, or leave --initrd out");
  }
  // The loader would say it as well, but only when a machine has been made.
  if (FileSource(file.fd.get(), path).size() == 0) {
    throw Error(fmt::format("the initrd '{}' is empty", path), "build or copy it again, or leave --initrd out");
  }
  return file;
}

// Linux unpacks archives one behind another, each from a multiple of four bytes on
// (Documentation/driver-api/early-userspace/buffer-format.rst).
BootFile joined(std::vector<BootFile> files) {
  if (files.size() == 1) return std::move(files.front());
  UniqueFd all(::memfd_create("initrd", MFD_CLOEXEC));
  off_t end = 0;
  for (const BootFile& file : files) {
    const FileSource source(file.fd.get(), file.text);
    end = (end + 3) / 4 * 4;
    if (!all || ::lseek(all.get(), end, SEEK_SET) < 0) throw Error("cannot join initrds: " + errno_text(errno));
    off_t from = 0;
    while (static_cast<uint64_t>(from) < source.size()) {
      const ssize_t copied = ::sendfile(all.get(), file.fd.get(), &from, source.size() - static_cast<uint64_t>(from));
      if (copied == 0) throw Error(fmt::format("the initrd '{}' became shorter", file.text));
      if (copied < 0) {
        throw Error(fmt::format("cannot join initrds: {}", errno_text(errno)), "join them by hand, with cat");
      }
    }
    end += from;
  }
  return {.fd = std::move(all), .text = "initrd"};
}

std::vector<BootFile> open_initrds(const MachineConfig& config, const KernelFile& kernel) {
  std::vector<BootFile> files;
  const KernelKind kind = kernel.info().kind;
  const bool makes = config.initrd_kind == InitrdKind::kMade ||
                     (config.initrd_kind == InitrdKind::kAsNeeded && kind != KernelKind::kMultiboot &&
                      needs_initrd(config, kernel.release()));
  if (makes) {
    log_debug("making an initrd for kernel {}", kernel.release());
    files.push_back({.fd = make_initrd(config, kernel.release()), .text = "initrd"});
    return files;
  }
  if (config.initrd_kind != InitrdKind::kFile) return files;
  for (const std::string& text : config.initrds) files.push_back(open_initrd(text, kind));
  if (kind == KernelKind::kMultiboot) return files;
  std::vector<BootFile> one;
  one.push_back(joined(std::move(files)));
  return one;
}

std::unique_ptr<VhostUserSocket> open_socket(EventLoop& loop, VhostUserRole role, const std::string& path,
                                             uint16_t queues = 0) {
  role.min_queues = std::max(role.min_queues, queues);
  return std::make_unique<VhostUserSocket>(loop, std::move(role), path);
}

}  // namespace

Backends::Backends(EventLoop& loop, const MachineConfig& config)
    : kernel(KernelFile::open(config.kernel)), initrds(open_initrds(config, kernel)) {
  const auto open_consoles = [&](const std::vector<CharConfig>& wanted, auto& opened) {
    for (const CharConfig& console : wanted) {
      opened.push_back(open_char_stream(loop, console));
      if (console.kind == CharConfig::Kind::kStdio) stdio_ = opened.back().get();
    }
  };
  if (!config.disks.empty()) {
    io_engine = IoEngine::create(loop, config.io_engine);
    log_debug("disks are read and written by {}", io_engine->name());
  }
  for (const DiskConfig& disk : config.disks) {
    Disk& opened = disks.emplace_back();
    if (disk.socket.empty()) {
      opened.backend = open_disk(disk, *io_engine);
    } else {
      opened.socket = open_socket(loop, vhost_user_block_role(), disk.socket, disk.queues);
    }
  }
  for (const NetConfig& net : config.nets) {
    if (net.kind == NetConfig::Kind::kNone) continue;
    Network network{.backend = open_net(loop, net), .socket = {}, .mac = mac_for(net, networks.size())};
    if (!network.backend) network.socket = open_socket(loop, vhost_user_net_role(), net.name);
    networks.push_back(std::move(network));
  }
  const std::vector<ShareConfig> shared = shared_directories(config);
  const size_t budget = shared.empty() ? 0 : SharedFolder::descriptor_budget(shared.size());
  for (const ShareConfig& share : shared) {
    Share& opened = shares.emplace_back();
    opened.tag = share.tag;
    if (share.socket.empty()) {
      opened.backend = std::make_unique<SharedFolder>(loop, share, budget);
    } else {
      opened.socket = open_socket(loop, vhost_user_fs_role(), share.socket);
    }
  }
  if (config.vsock) vsock = std::make_unique<VsockHost>(loop, *config.vsock);
  open_consoles(config.serial, serial);
  open_consoles(config.consoles, consoles);
  for (size_t i = 0; i < serial.size(); ++i) {
    std::unique_ptr<SplitGdb>& split = split_gdb.emplace_back();
    if (config.serial[i].split_gdb.empty()) continue;
    split = std::make_unique<SplitGdb>(loop, *serial[i], open_char_endpoint(loop, config.serial[i].gdb_end()));
  }
  if (config.command) {
    GuestCommand::Streams streams;
    if (config.command->output_to_errors) streams.output = streams.errors;
    command = std::make_unique<GuestCommand>(loop, *config.command, streams);
  }
}

void Backends::leave_disks() {
  for (Disk& disk : disks) std::ignore = disk.backend.release();
  std::ignore = io_engine.release();
}

std::vector<CharStream*> Backends::streams() const {
  std::vector<CharStream*> all;
  for (const auto& stream : serial) all.push_back(stream.get());
  for (const auto& stream : consoles) all.push_back(stream.get());
  return all;
}

}  // namespace vmm
