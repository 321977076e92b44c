// The ioctls; see tap_port.h.
#include "devices/backends/net/tap_port.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "devices/backends/net/net_backend.h"
#include "devices/virtio/spec.h"
#include "vmm/core/error.h"

// Younger than the headers of some hosts.
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

namespace vmm {

namespace {

// Flags of the interface that frames with our header need.
constexpr unsigned kWanted = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;

struct Offload {
  uint64_t feature;
  unsigned flag;
};
constexpr std::array kGuestOffloads{
    Offload{feature(VIRTIO_NET_F_GUEST_CSUM), TUN_F_CSUM}, Offload{feature(VIRTIO_NET_F_GUEST_TSO4), TUN_F_TSO4},
    Offload{feature(VIRTIO_NET_F_GUEST_TSO6), TUN_F_TSO6}, Offload{feature(VIRTIO_NET_F_GUEST_ECN), TUN_F_TSO_ECN},
    Offload{feature(VIRTIO_NET_F_GUEST_USO4), TUN_F_USO4}, Offload{feature(VIRTIO_NET_F_GUEST_USO6), TUN_F_USO6},
};

ifreq request_for(const std::string& name) {
  ifreq request{};
  std::memcpy(request.ifr_name, name.data(), std::min(name.size(), sizeof request.ifr_name - 1));
  return request;
}

std::string how_to_make(const std::string& name, size_t queues) {
  return fmt::format("sudo ip tuntap add {0} mode tap user $USER{1} && sudo ip link set {0} up", name,
                     queues > 1 ? " multi_queue" : "");
}

[[noreturn]] void refuse(const std::string& name, const std::string& why, const std::string& fix = {}) {
  throw Error(fmt::format("cannot use tap '{}': {}", name, why), fix);
}

UniqueFd open_device(const std::string& name) {
  UniqueFd fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (fd) return fd;
  const int error = errno;
  const bool missing = error == ENOENT || error == ENODEV || error == ENXIO;
  refuse(name, "cannot open /dev/net/tun: " + errno_text(error),
         missing ? "sudo modprobe tun"
                 : "sudo chmod 0666 /dev/net/tun, as udev sets it; or --net user, which needs no tap");
}

// Fails with an errno value.
int attach_queue(int fd, const std::string& name, bool multi_queue) {
  ifreq request = request_for(name);
  request.ifr_flags = static_cast<short>(kWanted | (multi_queue ? IFF_MULTI_QUEUE : 0u));
  return ::ioctl(fd, TUNSETIFF, &request) < 0 ? errno : 0;
}

[[noreturn]] void refuse_queue(const std::string& name, size_t queues, size_t index, int error) {
  const std::string anew = fmt::format("sudo ip link del {}; {}", name, how_to_make(name, queues));
  if (error == EBUSY) refuse(name, "another program has it", "give each machine a tap of its own");
  if (error == EPERM) refuse(name, "it belongs to somebody else", anew);
  if (error == EINVAL && queues > 1) refuse(name, "it is no tap of several queues", anew);
  if (error == EINVAL) refuse(name, "it is no tap", "choose another name: " + how_to_make("tap0", queues));
  if (error == E2BIG) refuse(name, fmt::format("the kernel gives it {} queues at most", index));
  refuse(name, errno_text(error));
}

// Our header, in the byte order of virtio 1.x.
void set_header(int fd, const std::string& name) {
  int size = kNetHeader;
  int little_endian = 1;
  if (::ioctl(fd, TUNSETVNETHDRSZ, &size) < 0 || ::ioctl(fd, TUNSETVNETLE, &little_endian) < 0) {
    refuse(name, "its frames cannot carry virtio's header: " + errno_text(errno));
  }
}

// TCP segmentation is as old as the header itself; for UDP the kernel is asked. It takes the guest's frames in the same
// ways as it gives its own.
uint64_t find_offloads(int fd) {
  constexpr unsigned kTcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
  constexpr unsigned kUdp = TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6;
  constexpr uint64_t kTcpFeatures = feature(VIRTIO_NET_F_CSUM) | feature(VIRTIO_NET_F_HOST_TSO4) |
                                    feature(VIRTIO_NET_F_HOST_TSO6) | feature(VIRTIO_NET_F_HOST_ECN) |
                                    feature(VIRTIO_NET_F_GUEST_CSUM) | feature(VIRTIO_NET_F_GUEST_TSO4) |
                                    feature(VIRTIO_NET_F_GUEST_TSO6) | feature(VIRTIO_NET_F_GUEST_ECN);
  constexpr uint64_t kUdpFeatures =
      feature(VIRTIO_NET_F_HOST_USO) | feature(VIRTIO_NET_F_GUEST_USO4) | feature(VIRTIO_NET_F_GUEST_USO6);
  const auto takes = [fd](unsigned flags) { return ::ioctl(fd, TUNSETOFFLOAD, flags) == 0; };
  uint64_t offloads = takes(kTcp) ? kTcpFeatures : 0;
  if (offloads != 0 && takes(kUdp)) offloads |= kUdpFeatures;
  takes(0);
  return offloads;
}

uint16_t find_mtu(const std::string& name) {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request = request_for(name);
  if (::ioctl(socket.get(), SIOCGIFMTU, &request) < 0) return 0;
  return request.ifr_mtu >= 68 && request.ifr_mtu <= 65535 ? static_cast<uint16_t>(request.ifr_mtu) : uint16_t{0};
}

}  // namespace

bool interface_exists(const std::string& name) { return ::if_nametoindex(name.c_str()) != 0; }

TapPort TapPort::open(const std::string& name, size_t queues) {
  if (name.empty() || name.size() >= IFNAMSIZ || name.find_first_of("/% \t") != name.npos) {
    refuse(name, "an interface has a name of 1 to 15 letters");
  }
  TapPort port{.name = name};
  port.queues.push_back(open_device(name));
  if (!interface_exists(name)) refuse(name, "there is no such interface", how_to_make(name, queues));
  // One made for several queues can be used with one as well, but has to be asked as what it is.
  int error = attach_queue(port.queues[0].get(), name, queues > 1);
  if (error == EINVAL && queues == 1) error = attach_queue(port.queues[0].get(), name, true);
  if (error != 0) refuse_queue(name, queues, 0, error);
  while (port.queues.size() < queues) {
    port.queues.push_back(open_device(name));
    error = attach_queue(port.queues.back().get(), name, true);
    if (error != 0) refuse_queue(name, queues, port.queues.size() - 1, error);
  }
  for (const UniqueFd& fd : port.queues) set_header(fd.get(), name);
  port.offloads = find_offloads(port.queues[0].get());
  port.mtu = find_mtu(name);
  return port;
}

TapPort TapPort::adopt(const std::vector<int>& fds) {
  TapPort port;
  for (const int fd : fds) {
    const std::string number = fmt::format("descriptor {}", fd);
    if (::fcntl(fd, F_GETFD) < 0) refuse(number, "it is not open", "open it before vmm starts, without close-on-exec");
    ifreq request{};
    if (::ioctl(fd, TUNGETIFF, &request) < 0) refuse(number, "it is no tap: " + errno_text(errno));
    const auto flags = static_cast<unsigned short>(request.ifr_flags);
    if ((flags & kWanted) != kWanted) {
      refuse(number, "its frames carry no virtio header", "open it with IFF_TAP | IFF_NO_PI | IFF_VNET_HDR");
    }
    const std::string name(request.ifr_name, ::strnlen(request.ifr_name, sizeof request.ifr_name));
    if (!port.name.empty() && port.name != name) refuse(number, "it is a queue of another interface than the first");
    port.name = name;
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    port.queues.emplace_back(fd);
    set_header(fd, number);
  }
  port.offloads = find_offloads(port.queues[0].get());
  return port;
}

bool set_tap_offloads(int fd, uint64_t guest_offloads) {
  unsigned flags = 0;
  for (const Offload& offload : kGuestOffloads) {
    if ((guest_offloads & offload.feature) != 0) flags |= offload.flag;
  }
  // The kernel wants both kinds of UDP or none.
  constexpr unsigned kUdp = TUN_F_USO4 | TUN_F_USO6;
  if ((flags & kUdp) != kUdp) flags &= ~kUdp;
  return ::ioctl(fd, TUNSETOFFLOAD, flags) == 0;
}

bool set_tap_queue_used(int fd, bool used) {
  ifreq request{};
  request.ifr_flags = static_cast<short>(used ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE);
  return ::ioctl(fd, TUNSETQUEUE, &request) == 0;
}

}  // namespace vmm
