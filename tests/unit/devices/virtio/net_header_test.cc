// What a driver may say about a frame, and what it may not.
#include "devices/virtio/net_header.h"

#include <catch2/catch.hpp>

using namespace vmm;

namespace {

constexpr uint64_t kAll = feature(VIRTIO_NET_F_CSUM) | feature(VIRTIO_NET_F_HOST_TSO4) |
                          feature(VIRTIO_NET_F_HOST_TSO6) | feature(VIRTIO_NET_F_HOST_ECN) |
                          feature(VIRTIO_NET_F_HOST_USO);
constexpr size_t kLength = 3000;

virtio_net_hdr_v1 segmented(uint8_t type) {
  virtio_net_hdr_v1 header{};
  header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  header.gso_type = type;
  header.gso_size = 1448;
  header.hdr_len = 66;
  header.csum_start = 34;
  header.csum_offset = 16;
  return header;
}

}  // namespace

TEST_CASE("net header: an empty one is fine, whatever was negotiated", "[virtio][net]") {
  virtio_net_hdr_v1 header{};
  CHECK(clean_header(header, 14, 0));
}

TEST_CASE("net header: segmentation that was negotiated is passed on as it is", "[virtio][net]") {
  const auto type =
      static_cast<uint8_t>(GENERATE(VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_HDR_GSO_TCPV6,
                                    VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN, VIRTIO_NET_HDR_GSO_UDP_L4));
  virtio_net_hdr_v1 header = segmented(type);
  CHECK(clean_header(header, kLength, kAll));
  CHECK(header.gso_type == type);
  CHECK(header.gso_size == 1448);
  CHECK(header.hdr_len == 66);
  CHECK(header.csum_start == 34);
}

TEST_CASE("net header: segmentation that was not negotiated, or is none, is refused", "[virtio][net]") {
  const auto type = static_cast<uint8_t>(GENERATE(VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_HDR_GSO_TCPV6,
                                                  VIRTIO_NET_HDR_GSO_UDP_L4, VIRTIO_NET_HDR_GSO_UDP, 2, 0x7f, 0x80));
  virtio_net_hdr_v1 header = segmented(type);
  CHECK_FALSE(clean_header(header, kLength, feature(VIRTIO_NET_F_CSUM)));
  const bool known =
      type == VIRTIO_NET_HDR_GSO_TCPV4 || type == VIRTIO_NET_HDR_GSO_TCPV6 || type == VIRTIO_NET_HDR_GSO_UDP_L4;
  header = segmented(type);
  CHECK(clean_header(header, kLength, kAll) == known);
}

TEST_CASE("net header: ECN needs its feature, and is for TCP", "[virtio][net]") {
  virtio_net_hdr_v1 tcp = segmented(VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN);
  CHECK_FALSE(clean_header(tcp, kLength, kAll & ~feature(VIRTIO_NET_F_HOST_ECN)));
  virtio_net_hdr_v1 udp = segmented(VIRTIO_NET_HDR_GSO_UDP_L4 | VIRTIO_NET_HDR_GSO_ECN);
  CHECK_FALSE(clean_header(udp, kLength, kAll));
}

TEST_CASE("net header: segments of no size or without checksums are refused", "[virtio][net]") {
  virtio_net_hdr_v1 no_size = segmented(VIRTIO_NET_HDR_GSO_TCPV4);
  no_size.gso_size = 0;
  CHECK_FALSE(clean_header(no_size, kLength, kAll));
  virtio_net_hdr_v1 no_checksum = segmented(VIRTIO_NET_HDR_GSO_TCPV4);
  no_checksum.flags = 0;
  CHECK_FALSE(clean_header(no_checksum, kLength, kAll));
}

TEST_CASE("net header: a checksum lies inside the frame, or the frame is refused", "[virtio][net]") {
  virtio_net_hdr_v1 header{};
  header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  header.csum_start = 34;
  header.csum_offset = 16;
  CHECK(clean_header(header, 52, kAll));
  CHECK_FALSE(clean_header(header, 51, kAll));
  header.csum_start = 0xfff0;
  CHECK_FALSE(clean_header(header, kLength, kAll));
  header.csum_start = 0xffff;
  header.csum_offset = 0xffff;
  CHECK_FALSE(clean_header(header, kLength, kAll));
}

TEST_CASE("net header: a checksum that was not negotiated is refused", "[virtio][net]") {
  virtio_net_hdr_v1 header{};
  header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  CHECK_FALSE(clean_header(header, kLength, 0));
}

TEST_CASE("net header: what means nothing is cleared, and a header length that lies is cut", "[virtio][net]") {
  virtio_net_hdr_v1 header{};
  header.flags = 0xfe;
  header.gso_size = 7;
  header.hdr_len = 9;
  header.csum_start = 0xfff0;
  header.csum_offset = 0xfff0;
  header.num_buffers = 3;
  CHECK(clean_header(header, kLength, kAll));
  CHECK(header.flags == 0);
  CHECK(header.gso_size == 0);
  CHECK(header.hdr_len == 0);
  CHECK(header.csum_start == 0);
  CHECK(header.num_buffers == 0);
  virtio_net_hdr_v1 lying = segmented(VIRTIO_NET_HDR_GSO_TCPV4);
  lying.hdr_len = 0xffff;
  CHECK(clean_header(lying, kLength, kAll));
  CHECK(lying.hdr_len == kLength);
}

TEST_CASE("net features: what depends on what is missing does not agree", "[virtio][net]") {
  CHECK(net_features_agree(0));
  CHECK(net_features_agree(kAll));
  CHECK_FALSE(net_features_agree(feature(VIRTIO_NET_F_HOST_TSO4)));
  CHECK_FALSE(net_features_agree(feature(VIRTIO_NET_F_CSUM) | feature(VIRTIO_NET_F_HOST_ECN)));
  CHECK_FALSE(net_features_agree(feature(VIRTIO_NET_F_GUEST_TSO6)));
  CHECK_FALSE(net_features_agree(feature(VIRTIO_NET_F_MQ)));
  CHECK(net_features_agree(feature(VIRTIO_NET_F_MQ) | feature(VIRTIO_NET_F_CTRL_VQ)));
}
