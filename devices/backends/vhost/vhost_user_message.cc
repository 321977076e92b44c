// Bytes of requests, and replies with their descriptors, cut out of a stream; see vhost_user_message.h.
#include "devices/backends/vhost/vhost_user_message.h"

#include <algorithm>
#include <cstring>

namespace vmm {

namespace {

constexpr size_t kConfigHeader = 3 * sizeof(uint32_t);

struct MemoryRegion {
  uint64_t guest_address;
  uint64_t size;
  uint64_t user_address;
  uint64_t mmap_offset;
};

template <typename T>
void append(std::vector<std::byte>& to, const T& value) {
  const auto bytes = payload_of(value);
  to.insert(to.end(), bytes.begin(), bytes.end());
}

}  // namespace

std::vector<std::byte> encode_vhost_user(uint32_t request, uint32_t flags, std::span<const std::byte> payload) {
  std::vector<std::byte> message;
  append(message, VhostUserHeader{request, VhostUserHeader::kVersion | flags, static_cast<uint32_t>(payload.size())});
  message.insert(message.end(), payload.begin(), payload.end());
  return message;
}

std::vector<std::byte> memory_table(const GuestMemory& memory) {
  std::vector<std::byte> table;
  append(table, static_cast<uint32_t>(memory.regions().size()));
  append(table, uint32_t{0});
  for (const GuestMemory::Region& region : memory.regions()) {
    append(table, MemoryRegion{region.start.value, region.size, region.start.value, region.offset});
  }
  return table;
}

std::vector<std::byte> config_payload(size_t offset, std::span<const std::byte> bytes) {
  std::vector<std::byte> payload;
  append(payload, static_cast<uint32_t>(offset));
  append(payload, static_cast<uint32_t>(bytes.size()));
  append(payload, uint32_t{0});
  payload.insert(payload.end(), bytes.begin(), bytes.end());
  return payload;
}

std::optional<std::vector<std::byte>> config_in(const VhostUserReply& reply, size_t size) {
  if (reply.payload.size() != kConfigHeader + size) return std::nullopt;
  return std::vector<std::byte>(reply.payload.begin() + kConfigHeader, reply.payload.end());
}

std::span<std::byte> VhostUserDecoder::room() { return std::span(buffer_).subspan(filled_, wanted_ - filled_); }

VhostUserDecoder::Progress VhostUserDecoder::arrived(size_t length) {
  filled_ += std::min(length, wanted_ - filled_);
  if (filled_ < wanted_) return Progress::kPartial;
  if (wanted_ > sizeof(VhostUserHeader)) return Progress::kReply;
  VhostUserHeader header;
  std::memcpy(&header, buffer_.data(), sizeof header);
  const bool is_reply = (header.flags & VhostUserHeader::kVersionMask) == VhostUserHeader::kVersion &&
                        (header.flags & VhostUserHeader::kReply) != 0;
  if (!is_reply || header.size > kMaxPayload) return Progress::kBad;
  wanted_ += header.size;
  return header.size == 0 ? Progress::kReply : Progress::kPartial;
}

VhostUserReply VhostUserDecoder::take() {
  VhostUserReply reply;
  std::memcpy(&reply.request, buffer_.data(), sizeof reply.request);
  reply.payload.assign(buffer_.begin() + sizeof(VhostUserHeader),
                       buffer_.begin() + static_cast<std::ptrdiff_t>(filled_));
  filled_ = 0;
  wanted_ = sizeof(VhostUserHeader);
  return reply;
}

}  // namespace vmm
