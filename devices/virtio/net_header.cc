// The checks of a header, field by field, against the features and the frame; see net_header.h.
#include "devices/virtio/net_header.h"

#include <algorithm>
#include <array>

namespace vmm {

namespace {

// The feature that allows frames of a segmentation type; 0 for a type that is none.
uint64_t feature_of(uint8_t gso_type) {
  switch (gso_type) {
    case VIRTIO_NET_HDR_GSO_TCPV4:
      return feature(VIRTIO_NET_F_HOST_TSO4);
    case VIRTIO_NET_HDR_GSO_TCPV6:
      return feature(VIRTIO_NET_F_HOST_TSO6);
    case VIRTIO_NET_HDR_GSO_UDP_L4:
      return feature(VIRTIO_NET_F_HOST_USO);
    default:
      return 0;
  }
}

bool segmentation_allowed(const virtio_net_hdr_v1& header, uint64_t features) {
  const bool ecn = (header.gso_type & VIRTIO_NET_HDR_GSO_ECN) != 0;
  const auto type = static_cast<uint8_t>(header.gso_type & ~VIRTIO_NET_HDR_GSO_ECN);
  if ((features & feature_of(type)) == 0) return false;
  if (ecn && ((features & feature(VIRTIO_NET_F_HOST_ECN)) == 0 || type == VIRTIO_NET_HDR_GSO_UDP_L4)) return false;
  // Each segment gets a checksum of its own.
  return header.gso_size != 0 && (header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0;
}

}  // namespace

bool clean_header(virtio_net_hdr_v1& header, size_t length, uint64_t features) {
  header.flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;  // the others are the device's
  header.num_buffers = 0;
  header.hdr_len = static_cast<uint16_t>(std::min<size_t>(header.hdr_len, length));  // a hint
  if (header.flags != 0) {
    if ((features & feature(VIRTIO_NET_F_CSUM)) == 0) return false;
    if (size_t{header.csum_start} + header.csum_offset + sizeof(uint16_t) > length) return false;
  } else {
    header.csum_start = 0;
    header.csum_offset = 0;
  }
  if (header.gso_type != VIRTIO_NET_HDR_GSO_NONE) return segmentation_allowed(header, features);
  header.gso_size = 0;
  header.hdr_len = 0;
  return true;
}

bool net_features_agree(uint64_t features) {
  struct Need {
    uint64_t of;
    uint64_t any_of;
  };
  constexpr uint64_t kGuestTso = feature(VIRTIO_NET_F_GUEST_TSO4) | feature(VIRTIO_NET_F_GUEST_TSO6);
  constexpr uint64_t kHostTso = feature(VIRTIO_NET_F_HOST_TSO4) | feature(VIRTIO_NET_F_HOST_TSO6);
  constexpr uint64_t kControl = feature(VIRTIO_NET_F_CTRL_VQ);
  constexpr std::array kNeeds{
      Need{feature(VIRTIO_NET_F_GUEST_TSO4), feature(VIRTIO_NET_F_GUEST_CSUM)},
      Need{feature(VIRTIO_NET_F_GUEST_TSO6), feature(VIRTIO_NET_F_GUEST_CSUM)},
      Need{feature(VIRTIO_NET_F_GUEST_ECN), kGuestTso},
      Need{feature(VIRTIO_NET_F_GUEST_USO4), feature(VIRTIO_NET_F_GUEST_CSUM)},
      Need{feature(VIRTIO_NET_F_GUEST_USO6), feature(VIRTIO_NET_F_GUEST_CSUM)},
      Need{feature(VIRTIO_NET_F_HOST_TSO4), feature(VIRTIO_NET_F_CSUM)},
      Need{feature(VIRTIO_NET_F_HOST_TSO6), feature(VIRTIO_NET_F_CSUM)},
      Need{feature(VIRTIO_NET_F_HOST_ECN), kHostTso},
      Need{feature(VIRTIO_NET_F_HOST_USO), feature(VIRTIO_NET_F_CSUM)},
      Need{feature(VIRTIO_NET_F_CTRL_RX), kControl},
      Need{feature(VIRTIO_NET_F_CTRL_RX_EXTRA), kControl},
      Need{feature(VIRTIO_NET_F_CTRL_MAC_ADDR), kControl},
      Need{feature(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS), kControl},
      Need{feature(VIRTIO_NET_F_MQ), kControl},
  };
  return std::ranges::all_of(
      kNeeds, [features](const Need& need) { return (features & need.of) == 0 || (features & need.any_of) != 0; });
}

}  // namespace vmm
