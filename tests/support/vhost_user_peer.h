// VhostUserPeer: a back-end of vhost-user in a thread: a disk, of as many bytes as it is given, which it reads and
// writes in the guest's memory; or a network, in which somebody answers every ping. It speaks the protocol by itself,
// so that front ends are not tested against their own ideas.
//
// A test may have it misbehave: `instead` is asked first about each message, and requests may be held: taken from the
// ring, done, and not returned. Its end is a death: the connection closes, and what was held is lost with it.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "devices/backends/vhost/vhost_user_message.h"
#include "devices/virtio/spec.h"
#include "tests/support/unix_ends.h"

namespace vmm::test {

class VhostUserPeer {
 public:
  struct Message {
    VhostUserHeader header;
    std::vector<std::byte> payload;
    std::vector<int> fds;

    template <typename T>
    T value(size_t offset = 0) const {
      T result{};
      if (offset + sizeof result <= payload.size()) std::memcpy(&result, payload.data() + offset, sizeof result);
      return result;
    }
  };

  struct Behaviour {
    uint64_t features = feature(VIRTIO_F_VERSION_1) | feature(VIRTIO_RING_F_INDIRECT_DESC) |
                        feature(VHOST_USER_F_PROTOCOL_FEATURES) | feature(VIRTIO_BLK_F_FLUSH);
    uint64_t protocol = feature(VHOST_USER_PROTOCOL_F_MQ) | feature(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
                        feature(VHOST_USER_PROTOCOL_F_CONFIG);
    uint64_t queues = 2;
    bool network = false;
    uint32_t size_max = 0, seg_max = 0;  // of a disk's configuration
    // Takes the place of the usual answer when it says true.
    std::function<bool(VhostUserPeer&, const Message&)> instead;
    // Whether the request with this number, from 0 on, is held.
    std::function<bool(unsigned)> holds = [](unsigned) { return false; };
  };

  VhostUserPeer(const std::string& path, std::vector<std::byte>& disk) : VhostUserPeer(path, disk, Behaviour()) {}
  VhostUserPeer(const std::string& path, std::vector<std::byte>& disk, Behaviour behaviour)
      : behaviour_(std::move(behaviour)), disk_(disk), listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const sockaddr_un address = unix_address(path);
    ::unlink(path.c_str());
    (void)!::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    ::listen(listener_.get(), 4);
    thread_ = std::thread([this] { serve(); });
  }
  VhostUserPeer(const VhostUserPeer&) = delete;
  VhostUserPeer& operator=(const VhostUserPeer&) = delete;
  ~VhostUserPeer() {
    ending_ = true;
    thread_.join();
    forget_memory();
  }

  // How often it has got this message so far.
  unsigned count(uint32_t request) const {
    const std::lock_guard lock(mutex_);
    const auto found = seen_.find(request);
    return found == seen_.end() ? 0 : found->second;
  }
  unsigned requests() const { return requests_; }  // of the disk, done or held
  uint64_t features() const { return agreed_; }    // as the front end chose
  uint16_t base() const { return base_; }          // of ring 0, as it was given last
  std::atomic<bool> connected = false;

  // For `instead`.
  void reply(uint32_t request, std::span<const std::byte> payload, int fd = -1) const {
    send_raw(encode_vhost_user(request, VhostUserHeader::kReply, payload), fd);
  }
  void send_raw(std::span<const std::byte> bytes, int fd = -1) const {
    iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
    if (fd >= 0) {
      header.msg_control = control;
      header.msg_controllen = sizeof control;
      cmsghdr* rights = CMSG_FIRSTHDR(&header);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(sizeof fd);
      std::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    }
    (void)!::sendmsg(peer_.get(), &header, MSG_NOSIGNAL);
  }
  void hang_up() { ::shutdown(peer_.get(), SHUT_RDWR); }

 private:
  struct Region {
    uint64_t guest, size, user, offset;
  };
  struct Mapping {
    Region region;
    std::byte* data;
  };
  struct Ring {
    uint32_t size = 0;
    uint16_t next = 0;
    VhostUserVringAddress place;
    UniqueFd kick, call;
    bool enabled = false;
  };

  void serve() {
    while (!ending_) {
      std::vector<pollfd> fds{{.fd = peer_ ? peer_.get() : listener_.get(), .events = POLLIN, .revents = 0}};
      for (const auto& [index, ring] : rings_) {
        if (ring.kick) fds.push_back({.fd = ring.kick.get(), .events = POLLIN, .revents = 0});
      }
      if (::poll(fds.data(), fds.size(), 5) <= 0) continue;
      if (!peer_) {
        peer_ = UniqueFd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        connected = static_cast<bool>(peer_);
        continue;
      }
      if (fds[0].revents != 0 && !take_message()) {
        peer_ = UniqueFd();
        connected = false;
        rings_.clear();
        continue;
      }
      for (auto& [index, ring] : rings_) take_requests(index, ring);
    }
  }

  bool take_message() {
    Message message;
    iovec part{&message.header, sizeof message.header};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(8 * sizeof(int))] = {};
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    if (::recvmsg(peer_.get(), &header, MSG_WAITALL | MSG_CMSG_CLOEXEC) != sizeof message.header) return false;
    for (cmsghdr* rights = CMSG_FIRSTHDR(&header); rights != nullptr; rights = CMSG_NXTHDR(&header, rights)) {
      for (size_t i = 0; i < (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(rights) + i * sizeof fd, sizeof fd);
        message.fds.push_back(fd);
      }
    }
    message.payload.resize(message.header.size);
    const auto size = static_cast<ssize_t>(message.payload.size());
    if (size > 0 && ::recv(peer_.get(), message.payload.data(), message.payload.size(), MSG_WAITALL) != size)
      return false;
    if (!(behaviour_.instead && behaviour_.instead(*this, message))) obey(message);
    const std::lock_guard lock(mutex_);
    ++seen_[message.header.request];
    return true;
  }

  void obey(const Message& message) {
    const uint32_t request = message.header.request;
    const auto state = message.value<VhostUserVringState>();
    switch (request) {
      case VHOST_USER_GET_FEATURES:
        return reply(request, payload_of(behaviour_.features));
      case VHOST_USER_GET_PROTOCOL_FEATURES:
        return reply(request, payload_of(behaviour_.protocol));
      case VHOST_USER_GET_QUEUE_NUM:
        return reply(request, payload_of(behaviour_.queues));
      case VHOST_USER_GET_CONFIG: {
        virtio_blk_config config{};
        config.capacity = disk_.size() / 512;
        config.num_queues = 2;
        config.size_max = behaviour_.size_max;
        config.seg_max = behaviour_.seg_max;
        std::vector<std::byte> payload = message.payload;
        std::memcpy(payload.data() + 12, &config, payload.size() - 12);
        return reply(request, payload);
      }
      case VHOST_USER_GET_VRING_BASE: {
        const VhostUserVringState base{state.index, rings_.at(state.index).next};
        rings_.erase(state.index);
        return reply(request, payload_of(base));
      }
      case VHOST_USER_SET_FEATURES:
        agreed_ = message.value<uint64_t>();
        break;
      case VHOST_USER_SET_MEM_TABLE:
        map_memory(message);
        break;
      case VHOST_USER_SET_VRING_NUM:
        rings_[state.index].size = state.num;
        break;
      case VHOST_USER_SET_VRING_BASE:
        rings_[state.index].next = static_cast<uint16_t>(state.num);
        if (state.index == 0) base_ = static_cast<uint16_t>(state.num);
        break;
      case VHOST_USER_SET_VRING_ADDR:
        rings_[state.index].place = message.value<VhostUserVringAddress>();
        break;
      case VHOST_USER_SET_VRING_KICK:
        rings_[state.index].kick = UniqueFd(message.fds.at(0));
        break;
      case VHOST_USER_SET_VRING_CALL:
        rings_[state.index].call = UniqueFd(message.fds.at(0));
        break;
      case VHOST_USER_SET_VRING_ENABLE:
        rings_[state.index].enabled = state.num != 0;
        break;
      default:
        break;
    }
    if ((message.header.flags & VhostUserHeader::kNeedReply) != 0) reply(request, payload_of(uint64_t{0}));
  }

  void forget_memory() {
    for (const Mapping& mapping : memory_) ::munmap(mapping.data, mapping.region.offset + mapping.region.size);
    memory_.clear();
  }
  void map_memory(const Message& message) {
    forget_memory();
    for (size_t i = 0; i < message.fds.size(); ++i) {
      const auto region = message.value<Region>(8 + i * sizeof(Region));
      void* data = ::mmap(nullptr, region.offset + region.size, PROT_READ | PROT_WRITE, MAP_SHARED, message.fds[i], 0);
      if (data != MAP_FAILED) memory_.push_back({region, static_cast<std::byte*>(data)});
      ::close(message.fds[i]);
    }
  }
  std::byte* at(uint64_t address) const {
    for (const auto& [region, data] : memory_) {
      if (address >= region.user && address - region.user < region.size)
        return data + region.offset + (address - region.user);
    }
    return nullptr;
  }
  template <typename T>
  std::atomic_ref<T> ref(uint64_t address) const {
    return std::atomic_ref<T>(*reinterpret_cast<T*>(at(address)));
  }

  void take_requests(uint32_t index, Ring& ring) {
    uint64_t ignored = 0;
    if (!ring.kick || !ring.enabled || ring.size == 0 || at(ring.place.available) == nullptr) return;
    if (behaviour_.network && index == 0) return;  // its buffers wait for frames
    if (::read(ring.kick.get(), &ignored, sizeof ignored) < 0) return;
    bool returned = false;
    while (has_available(ring)) {
      const uint16_t head = pop(ring);
      uint32_t written = 0;
      behaviour_.network ? answer_frame(ring, head) : void(written = do_request(ring, head));
      if (behaviour_.holds(requests_++)) continue;
      push_used(ring, head, written);
      returned = true;
    }
    if (returned) call(ring);
  }
  bool has_available(const Ring& ring) const { return ring.next != ref<uint16_t>(ring.place.available + 2); }
  uint16_t pop(Ring& ring) const { return ref<uint16_t>(ring.place.available + 4 + 2 * (ring.next++ % ring.size)); }
  void push_used(const Ring& ring, uint16_t head, uint32_t written) const {
    const uint16_t used = ref<uint16_t>(ring.place.used + 2);
    const uint64_t entry = ring.place.used + 4 + 8 * (used % ring.size);
    ref<uint32_t>(entry) = head;
    ref<uint32_t>(entry + 4) = written;
    ref<uint16_t>(ring.place.used + 2) = static_cast<uint16_t>(used + 1);
  }
  static void call(const Ring& ring) {
    const uint64_t one = 1;
    (void)!::write(ring.call.get(), &one, sizeof one);
  }
  vring_desc descriptor(const Ring& ring, uint16_t slot) const {
    vring_desc result{};
    std::memcpy(&result, at(ring.place.descriptors + slot * sizeof result), sizeof result);
    return result;
  }
  // The parts of a chain, in which `visit` may stop.
  void for_each_part(const Ring& ring, uint16_t head, const std::function<bool(std::span<std::byte>)>& visit) const {
    vring_desc part = descriptor(ring, head);
    while (visit({at(part.addr), part.len}) && (part.flags & VRING_DESC_F_NEXT) != 0)
      part = descriptor(ring, part.next);
  }

  // Behind a header of 12 bytes, an ARP request (RFC 826) or a ping (RFC 792) for whoever is asked for.
  void answer_frame(const Ring& ring, uint16_t head) {
    std::vector<uint8_t> frame;
    for_each_part(ring, head, [&frame](std::span<std::byte> part) {
      for (const std::byte byte : part) frame.push_back(std::to_integer<uint8_t>(byte));
      return true;
    });
    constexpr std::array<uint8_t, 6> kAddress{2, 0, 0, 0, 0, 0x77};
    constexpr size_t kDestination = 12, kSource = 18, kType = 24, kArp = 26, kIp = 26, kIcmp = 46;
    if (frame.size() < kIcmp + 8) return;
    const auto swap = [&frame](size_t one, size_t other, size_t size) {
      std::swap_ranges(&frame[one], &frame[one] + size, &frame[other]);
    };
    swap(kDestination, kSource, 6);
    std::ranges::copy(kAddress, &frame[kSource]);
    if (frame[kType + 1] == 6 && frame[kArp + 7] == 1) {
      frame[kArp + 7] = 2;
      swap(kArp + 8, kArp + 18, 10);
      std::ranges::copy(kAddress, &frame[kArp + 8]);
    } else if (frame[kType + 1] == 0 && frame[kIp + 9] == 1 && frame[kIcmp] == 8) {
      swap(kIp + 12, kIp + 16, 4);
      frame[kIcmp] = 0;
      // The message has become less by 0x800, so its checksum becomes more.
      unsigned sum = 256u * frame[kIcmp + 2] + frame[kIcmp + 3] + 0x800u;
      sum += sum >> 16;
      frame[kIcmp + 2] = static_cast<uint8_t>(sum >> 8);
      frame[kIcmp + 3] = static_cast<uint8_t>(sum);
    } else {
      return;
    }
    Ring& towards = rings_[0];
    if (!towards.call || !has_available(towards)) return;
    std::fill_n(frame.begin(), kDestination, uint8_t{0});
    frame[10] = 1;  // buffers
    const uint16_t buffer = pop(towards);
    size_t done = 0;
    for_each_part(towards, buffer, [&](std::span<std::byte> part) {
      const size_t length = std::min(part.size(), frame.size() - done);
      std::memcpy(part.data(), frame.data() + done, length);
      done += length;
      return done < frame.size();
    });
    push_used(towards, buffer, static_cast<uint32_t>(done));
    call(towards);
  }

  // A header, one buffer, a status.
  uint32_t do_request(const Ring& ring, uint16_t head) {
    vring_desc parts[3] = {};
    uint16_t slot = head;
    for (vring_desc& part : parts) {
      part = descriptor(ring, slot);
      slot = part.next;
    }
    virtio_blk_outhdr header{};
    std::memcpy(&header, at(parts[0].addr), sizeof header);
    std::byte* data = at(parts[1].addr);
    std::byte* disk = disk_.data() + header.sector * 512;
    const bool reads = header.type == VIRTIO_BLK_T_IN;
    std::memcpy(reads ? data : disk, reads ? disk : data, parts[1].len);
    *at(parts[2].addr) = std::byte{VIRTIO_BLK_S_OK};
    return reads ? parts[1].len + 1 : 1;
  }

  const Behaviour behaviour_;
  std::vector<std::byte>& disk_;
  UniqueFd listener_;
  UniqueFd peer_;
  std::vector<Mapping> memory_;
  std::map<uint32_t, Ring> rings_;
  mutable std::mutex mutex_;
  std::map<uint32_t, unsigned> seen_;
  std::atomic<unsigned> requests_ = 0;
  std::atomic<uint64_t> agreed_ = 0;
  std::atomic<uint16_t> base_ = 0;
  std::atomic<bool> ending_ = false;
  std::thread thread_;
};

}  // namespace vmm::test
