// TestTap: a tap interface in a network namespace of its own, and a socket that sees and sends its frames from the
// host's side. No root is needed where user namespaces are allowed.
//
//   TestTap tap(2);                        // queues
//   if (!tap.usable()) { WARN("skipped: " + tap.why()); return; }
//
// A child makes namespace and interface and hands over the descriptors; they keep the namespace alive.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/descriptors.h"
#include "vmm/core/error.h"
#include "vmm/core/fd.h"

namespace vmm::test {

class TestTap {
 public:
  explicit TestTap(size_t queues = 1) {
    SocketPair channel;
    const pid_t child = ::fork();
    if (child == 0) ::_exit(make(queues, channel.theirs.get()));
    channel.theirs = UniqueFd();
    int status = 0;
    ::waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
      why_ = "no tap in a namespace: " + errno_text(WIFEXITED(status) ? WEXITSTATUS(status) : EINTR);
      return;
    }
    std::vector<UniqueFd> fds = take(channel.ours.get());
    control_ = std::move(fds[0]);
    wire_ = std::move(fds[1]);
    netlink_ = std::move(fds[2]);
    ifreq request = named();
    ::ioctl(control_.get(), SIOCGIFINDEX, &request);
    index_ = request.ifr_ifindex;
    for (size_t i = 3; i < fds.size(); ++i) queues_.push_back(std::move(fds[i]));
  }

  bool usable() const { return why_.empty(); }
  const std::string& why() const { return why_; }

  // The descriptors of its queues, each once.
  std::vector<int> release() {
    std::vector<int> fds;
    for (UniqueFd& fd : queues_) fds.push_back(::dup(fd.get()));
    queues_.clear();
    return fds;
  }

  void set_up(bool up) const {
    ifreq request = named();
    ::ioctl(control_.get(), SIOCGIFFLAGS, &request);
    request.ifr_flags = static_cast<short>(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
    ::ioctl(control_.get(), SIOCSIFFLAGS, &request);
  }
  // Deletes the interface, as RTM_DELLINK does.
  void remove() const {
    struct {
      nlmsghdr header;
      ifinfomsg link;
    } request{};
    request.header = {.nlmsg_len = sizeof request, .nlmsg_type = RTM_DELLINK, .nlmsg_flags = NLM_F_REQUEST};
    request.link.ifi_index = index_;
    (void)!::send(netlink_.get(), &request, sizeof request, 0);
  }
  void send(const std::string& frame) const { (void)!::send(wire_.get(), frame.data(), frame.size(), 0); }
  // The next frame that came out of the tap; empty when there is none. Frames of the host's own are passed over.
  std::string receive() const {
    std::string frame(70000, '\0');
    for (;;) {
      sockaddr_ll from{};
      socklen_t length = sizeof from;
      const ssize_t got = ::recvfrom(wire_.get(), frame.data(), frame.size(), MSG_DONTWAIT,
                                     reinterpret_cast<sockaddr*>(&from), &length);
      if (got < 0) return {};
      if (from.sll_pkttype != PACKET_OUTGOING) return frame.substr(0, static_cast<size_t>(got));
    }
  }

 private:
  static constexpr const char* kName = "tap-test";

  static ifreq named() {
    ifreq request{};
    std::strcpy(request.ifr_name, kName);
    return request;
  }

  // In the child. Answers 0 or an errno value.
  static int make(size_t queues, int channel) {
    if (::unshare(CLONE_NEWNET) < 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) return errno;
    const int control = ::socket(AF_INET, SOCK_DGRAM, 0);
    std::vector<int> fds{control, -1, ::socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)};
    for (size_t i = 0; i < queues; ++i) {
      const int fd = ::open("/dev/net/tun", O_RDWR);
      if (fd < 0) return errno;
      ifreq request = named();
      request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (queues > 1 ? IFF_MULTI_QUEUE : 0));
      if (::ioctl(fd, TUNSETIFF, &request) < 0) return errno;
      fds.push_back(fd);
    }
    ifreq request = named();
    request.ifr_flags = IFF_UP | IFF_NOARP;
    if (::ioctl(control, SIOCSIFFLAGS, &request) < 0) return errno;
    fds[1] = ::socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_ALL);
    address.sll_ifindex = static_cast<int>(::if_nametoindex(kName));
    if (::bind(fds[1], reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) return errno;
    return give(channel, fds);
  }

  static int give(int channel, const std::vector<int>& fds) {
    char byte = 'x';
    iovec part{&byte, 1};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(16 * sizeof(int))> space{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = space.data();
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
    return ::sendmsg(channel, &message, 0) == 1 ? 0 : errno;
  }
  static std::vector<UniqueFd> take(int channel) {
    char byte = 0;
    iovec part{&byte, 1};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(16 * sizeof(int))> space{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = space.data();
    message.msg_controllen = space.size();
    std::vector<UniqueFd> fds;
    if (::recvmsg(channel, &message, MSG_CMSG_CLOEXEC) < 0) return fds;
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    std::vector<int> numbers((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    std::memcpy(numbers.data(), CMSG_DATA(header), numbers.size() * sizeof(int));
    for (const int number : numbers) fds.emplace_back(number);
    return fds;
  }

  UniqueFd control_;  // any socket of the namespace
  UniqueFd wire_;     // AF_PACKET on the interface
  UniqueFd netlink_;
  int index_ = 0;
  std::vector<UniqueFd> queues_;
  std::string why_;
};

}  // namespace vmm::test
