// The header of a frame that a driver sends: whatever is let through lies inside the frame and was negotiated.
#include "devices/virtio/net_header.h"

#include "tests/fuzz/fuzz_input.h"

void vmm::test::fuzz(FuzzInput& input) {
  const auto features = input.take<uint64_t>();
  const size_t length = input.take_below(0xffff) + size_t{14};
  auto header = input.take<virtio_net_hdr_v1>();
  if (!clean_header(header, length, features)) return;
  const auto has = [features](unsigned bit) { return (features >> bit & 1) != 0; };
  require((header.flags & ~VIRTIO_NET_HDR_F_NEEDS_CSUM) == 0);
  require(header.flags == 0 || has(VIRTIO_NET_F_CSUM));
  require(size_t{header.csum_start} + header.csum_offset + 2 <= length);
  require(header.hdr_len <= length);
  require(header.gso_type == VIRTIO_NET_HDR_GSO_NONE || (header.gso_size != 0 && header.flags != 0));
  require((header.gso_type & VIRTIO_NET_HDR_GSO_ECN) == 0 || has(VIRTIO_NET_F_HOST_ECN));
}
