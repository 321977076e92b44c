// The messages of vhost-user, in which a device's front end (a virtual machine) and its back-end (another process)
// speak over a Unix socket: how they look, and how a stream of replies is cut into them. Nothing here does I/O. The
// specification is "Vhost-user Protocol", docs/interop/vhost-user.rst of QEMU; names in capitals are its own.
//
//   request u32 | flags u32 | size u32 | payload, `size` bytes       in the host's byte order
//
// Descriptors travel beside the first byte of a message (SCM_RIGHTS).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "vmm/core/fd.h"
#include "vmm/core/guest_memory.h"

namespace vmm {

enum VhostUserRequest : uint32_t {
  VHOST_USER_GET_FEATURES = 1,
  VHOST_USER_SET_FEATURES = 2,
  VHOST_USER_SET_OWNER = 3,
  VHOST_USER_SET_MEM_TABLE = 5,
  VHOST_USER_SET_VRING_NUM = 8,
  VHOST_USER_SET_VRING_ADDR = 9,
  VHOST_USER_SET_VRING_BASE = 10,
  VHOST_USER_GET_VRING_BASE = 11,
  VHOST_USER_SET_VRING_KICK = 12,
  VHOST_USER_SET_VRING_CALL = 13,
  VHOST_USER_GET_PROTOCOL_FEATURES = 15,
  VHOST_USER_SET_PROTOCOL_FEATURES = 16,
  VHOST_USER_GET_QUEUE_NUM = 17,
  VHOST_USER_SET_VRING_ENABLE = 18,
  VHOST_USER_GET_CONFIG = 24,
  VHOST_USER_SET_CONFIG = 25,
  VHOST_USER_GET_INFLIGHT_FD = 31,
  VHOST_USER_SET_INFLIGHT_FD = 32,
};

// Bits of "features" and of "protocol features".
constexpr unsigned VHOST_USER_F_PROTOCOL_FEATURES = 30;
constexpr unsigned VHOST_USER_PROTOCOL_F_MQ = 0;
constexpr unsigned VHOST_USER_PROTOCOL_F_REPLY_ACK = 3;
constexpr unsigned VHOST_USER_PROTOCOL_F_CONFIG = 9;
constexpr unsigned VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD = 12;

struct VhostUserHeader {
  static constexpr uint32_t kVersion = 1;
  static constexpr uint32_t kVersionMask = 3;
  static constexpr uint32_t kReply = 1 << 2;
  static constexpr uint32_t kNeedReply = 1 << 3;

  uint32_t request = 0;
  uint32_t flags = 0;
  uint32_t size = 0;
};

struct VhostUserVringState {
  uint32_t index = 0;
  uint32_t num = 0;
};

struct VhostUserVringAddress {
  uint32_t index = 0;
  uint32_t flags = 0;
  uint64_t descriptors = 0;
  uint64_t used = 0;
  uint64_t available = 0;
  uint64_t log = 0;
};

// Where a back-end keeps account of the requests it works on, in memory that outlives it.
struct VhostUserInflight {
  uint64_t mmap_size = 0;
  uint64_t mmap_offset = 0;
  uint16_t num_queues = 0;
  uint16_t queue_size = 0;
  uint32_t padding = 0;
};

struct VhostUserReply {
  uint32_t request = 0;
  std::vector<std::byte> payload;
  UniqueFd fd;

  // The payload as one value; nothing when it has another size.
  template <typename T>
  std::optional<T> value() const {
    T result;
    if (payload.size() != sizeof result) return std::nullopt;
    std::memcpy(&result, payload.data(), sizeof result);
    return result;
  }
};

template <typename T>
std::vector<std::byte> payload_of(const T& value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  return {bytes.begin(), bytes.end()};
}

std::vector<std::byte> encode_vhost_user(uint32_t request, uint32_t flags, std::span<const std::byte> payload);

// Payload of SET_MEM_TABLE: a descriptor of the memory goes with it for each region. Rings are given by the addresses
// of the guest, too, so that they mean the same over a reboot.
std::vector<std::byte> memory_table(const GuestMemory& memory);

// Payload of GET_CONFIG and SET_CONFIG: offset, size, flags, then the bytes.
std::vector<std::byte> config_payload(size_t offset, std::span<const std::byte> bytes);
// The bytes in the answer to a GET_CONFIG of `size` bytes from 0 on; nothing when it is no such answer.
std::optional<std::vector<std::byte>> config_in(const VhostUserReply& reply, size_t size);

// Cuts a stream into replies. It asks for no byte beyond the message that it is at, so that descriptors are known to
// belong to it.
class VhostUserDecoder {
 public:
  static constexpr uint32_t kMaxPayload = 512;  // the longest that is expected is a configuration, of 256 bytes
  enum class Progress { kPartial, kReply, kBad };

  // Where the next bytes go: never empty.
  std::span<std::byte> room();
  // So many of them have arrived. After kBad nothing in the stream means anything.
  Progress arrived(size_t length);
  // After kReply, once. Its descriptor is left to the caller.
  VhostUserReply take();

 private:
  std::array<std::byte, sizeof(VhostUserHeader) + kMaxPayload> buffer_{};
  size_t filled_ = 0;
  size_t wanted_ = sizeof(VhostUserHeader);
};

}  // namespace vmm
