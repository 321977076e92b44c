// From configuration to devices; see device_table.h.
#include "vmm/machine/device_table.h"

#include <algorithm>

#include "devices/virtio/balloon.h"
#include "devices/virtio/block.h"
#include "devices/virtio/console.h"
#include "devices/virtio/fs.h"
#include "devices/virtio/net.h"
#include "devices/virtio/rng.h"
#include "devices/virtio/vhost_user.h"
#include "devices/virtio/vsock.h"

namespace vmm {

namespace {

using Devices = std::vector<std::unique_ptr<VirtioDevice>>;

Devices make_disks(const MachineConfig& config, const Backends& backends) {
  Devices devices;
  for (size_t i = 0; i < config.disks.size(); ++i) {
    const DiskConfig& disk = config.disks[i];
    const auto queues = disk.queues > 0 ? disk.queues : static_cast<uint16_t>(config.cpus);
    const Disk& opened = backends.disks[i];
    if (opened.socket) {
      devices.push_back(VhostUser::block(*opened.socket, disk_name(i), queues));
    } else {
      devices.push_back(std::make_unique<VirtioBlock>(*opened.backend, disk, disk_name(i), queues));
    }
  }
  return devices;
}

Devices make_networks(const MachineConfig& config, const Backends& backends) {
  Devices devices;
  for (size_t i = 0; i < backends.networks.size(); ++i) {
    const auto filter = config.nets[i].filter ? VirtioNet::SourceFilter::kOn : VirtioNet::SourceFilter::kOff;
    const Network& network = backends.networks[i];
    if (network.socket) {
      devices.push_back(VhostUser::net(*network.socket, std::to_string(i), network.mac));
    } else {
      devices.push_back(std::make_unique<VirtioNet>(*network.backend, network.mac, filter, std::to_string(i)));
    }
  }
  return devices;
}

// One device with a port for each console, and one for a command.
Devices make_consoles(const MachineConfig& config, const Backends& backends) {
  std::vector<VirtioConsole::PortConfig> ports;
  for (const auto& stream : backends.consoles) {
    ports.push_back({.name = "hvc" + std::to_string(ports.size()), .is_console = true, .backend = *stream});
  }
  if (config.command) {
    ports.push_back({.name = GuestCommand::kPortName, .is_console = false, .backend = *backends.command});
  }
  Devices devices;
  if (!ports.empty()) devices.push_back(std::make_unique<VirtioConsole>(ports));
  return devices;
}

Devices make_shares(const MachineConfig&, const Backends& backends) {
  Devices devices;
  for (const Share& share : backends.shares) {
    if (share.socket) {
      devices.push_back(VhostUser::fs(*share.socket, share.tag));
    } else {
      devices.push_back(std::make_unique<VirtioFs>(*share.backend));
    }
  }
  return devices;
}

Devices make_rng(const MachineConfig& config, const Backends&) {
  Devices devices;
  if (config.rng) devices.push_back(std::make_unique<VirtioRng>());
  return devices;
}

Devices make_vsock(const MachineConfig&, const Backends& backends) {
  Devices devices;
  if (backends.vsock) devices.push_back(std::make_unique<VirtioVsock>(*backends.vsock));
  return devices;
}

Devices make_balloon(const MachineConfig& config, const Backends&) {
  Devices devices;
  if (config.balloon) devices.push_back(std::make_unique<VirtioBalloon>(*config.balloon, config.memory));
  return devices;
}

bool has_card(const MachineConfig& config) {
  return std::ranges::any_of(config.nets, [](const NetConfig& net) { return net.kind != NetConfig::Kind::kNone; });
}

constexpr DeviceKind kTable[] = {
    {.name = "virtio-blk",
     .driver = "virtio_blk",
     .essential = true,
     .wanted = [](const MachineConfig& config) { return !config.disks.empty(); },
     .make = make_disks},
    {.name = "virtio-fs",
     .driver = "virtiofs",
     .essential = true,
     .wanted = [](const MachineConfig& config) { return config.rootfs || !config.shares.empty(); },
     .make = make_shares},
    {.name = "virtio-console",
     .driver = "virtio_console",
     .essential = true,
     .wanted = [](const MachineConfig& config) { return config.command || !config.consoles.empty(); },
     .make = make_consoles},
    {.name = "virtio-net", .driver = "virtio_net", .essential = false, .wanted = has_card, .make = make_networks},
    {.name = "virtio-rng",
     .driver = "virtio_rng",
     .essential = false,
     .wanted = [](const MachineConfig& config) { return config.rng; },
     .make = make_rng},
    {.name = "virtio-vsock",
     .driver = "vmw_vsock_virtio_transport",
     .essential = false,
     .wanted = [](const MachineConfig& config) { return config.vsock.has_value(); },
     .make = make_vsock},
    {.name = "virtio-balloon",
     .driver = "virtio_balloon",
     .essential = false,
     .wanted = [](const MachineConfig& config) { return config.balloon.has_value(); },
     .make = make_balloon},
};

}  // namespace

std::span<const DeviceKind> device_table() { return kTable; }

}  // namespace vmm
