// Messages of vhost-user, byte for byte, and a stream that is none.
#include "devices/backends/vhost/vhost_user_message.h"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>

using namespace vmm;

namespace {

using Progress = VhostUserDecoder::Progress;

std::vector<std::byte> reply_of(uint32_t request, std::span<const std::byte> payload) {
  return encode_vhost_user(request, VhostUserHeader::kReply, payload);
}

// Feeds as much at a time as it asks for, and at most `part` bytes.
Progress feed(VhostUserDecoder& decoder, std::span<const std::byte> bytes, size_t part = 1000) {
  Progress progress = Progress::kPartial;
  while (!bytes.empty() && progress == Progress::kPartial) {
    const std::span<std::byte> room = decoder.room();
    const size_t length = std::min({part, room.size(), bytes.size()});
    std::ranges::copy(bytes.first(length), room.begin());
    bytes = bytes.subspan(length);
    progress = decoder.arrived(length);
  }
  return progress;
}

}  // namespace

TEST_CASE("vhost-user message: a header and its payload", "[vhost-user]") {
  const auto message = encode_vhost_user(VHOST_USER_SET_FEATURES, VhostUserHeader::kNeedReply, payload_of(uint64_t{5}));
  const std::array<uint8_t, 20> expected{2, 0, 0, 0, 9, 0, 0, 0, 8, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0};
  CHECK(std::ranges::equal(message, std::as_bytes(std::span(expected))));
}

TEST_CASE("vhost-user message: the memory table names regions by the guest's addresses", "[vhost-user]") {
  const GuestMemory memory(std::array{GuestMemory::Range{{0}, 0x10000}, GuestMemory::Range{{0x100000000}, 0x2000}},
                           GuestMemory::Backing::kShared);
  std::array<uint64_t, 9> words{};
  const auto table = memory_table(memory);
  REQUIRE(table.size() == sizeof words);
  std::memcpy(words.data(), table.data(), sizeof words);
  CHECK(words == std::array<uint64_t, 9>{2, 0, 0x10000, 0, 0, 0x100000000, 0x2000, 0x100000000, 0x10000});
}

TEST_CASE("vhost-user message: replies are cut out of the stream, wherever it was torn", "[vhost-user]") {
  const size_t part = GENERATE(values<size_t>({1, 5, 12, 1000}));
  VhostUserDecoder decoder;
  for (const uint64_t value : {7u, 8u}) {
    REQUIRE(feed(decoder, reply_of(VHOST_USER_GET_QUEUE_NUM, payload_of(value)), part) == Progress::kReply);
    const VhostUserReply reply = decoder.take();
    CHECK(reply.request == VHOST_USER_GET_QUEUE_NUM);
    CHECK(reply.value<uint64_t>() == value);
    CHECK_FALSE(reply.value<uint32_t>());
  }
  CHECK(feed(decoder, reply_of(VHOST_USER_GET_CONFIG, {}), part) == Progress::kReply);
  CHECK(decoder.take().payload.empty());
}

TEST_CASE("vhost-user message: what is no reply, or too long, is refused", "[vhost-user]") {
  VhostUserHeader header{VHOST_USER_GET_FEATURES, 1 | VhostUserHeader::kReply, 8};
  const auto [flags, size] =
      GENERATE(table<uint32_t, uint32_t>({{1, 8},
                                          {VhostUserHeader::kReply, 8},
                                          {2 | VhostUserHeader::kReply, 8},
                                          {1 | VhostUserHeader::kReply, VhostUserDecoder::kMaxPayload + 1},
                                          {1 | VhostUserHeader::kReply, 0xffffffff}}));
  header.flags = flags;
  header.size = size;
  VhostUserDecoder decoder;
  CHECK(feed(decoder, payload_of(header)) == Progress::kBad);
}

TEST_CASE("vhost-user message: a configuration has the size that was asked for", "[vhost-user]") {
  const std::array<std::byte, 4> bytes{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
  const VhostUserReply reply{.request = VHOST_USER_GET_CONFIG, .payload = config_payload(0, bytes), .fd = {}};
  CHECK(config_in(reply, 4) == std::vector(bytes.begin(), bytes.end()));
  CHECK_FALSE(config_in(reply, 3));
  CHECK_FALSE(config_in({.request = VHOST_USER_GET_CONFIG, .payload = {}, .fd = {}}, 4));
}
