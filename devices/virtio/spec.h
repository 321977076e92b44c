// The kernel's virtio headers, included in one place because some need help to be valid C++, and feature masks.
#pragma once

#include <linux/types.h>

#define VIRTIO_RING_NO_LEGACY  // its legacy helpers do pointer arithmetic that C++ refuses
#include <linux/virtio_balloon.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_ids.h>
#define VIRTIO_NET_NO_LEGACY
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpragmas"  // GCC does not know the next one
#pragma GCC diagnostic ignored "-Wkeyword-macro"
#define class class_  // a member's name
#include <linux/virtio_net.h>
#undef class
#pragma GCC diagnostic pop
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_vsock.h>

// Younger than the headers of some hosts (§5.1.3, §5.1.6).
#ifndef VIRTIO_NET_F_GUEST_USO4
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO 56
#endif
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#include <cstdint>

namespace vmm {

// The mask of a feature bit, VIRTIO_*_F_*.
constexpr uint64_t feature(unsigned bit) { return uint64_t{1} << bit; }

}  // namespace vmm
