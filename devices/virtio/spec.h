// The kernel's virtio headers, included in one place because some need help to be valid C++, and feature masks.
#pragma once

#include <linux/types.h>

#define VIRTIO_RING_NO_LEGACY  // its legacy helpers do pointer arithmetic that C++ refuses
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include <cstdint>

namespace vmm {

// The mask of a feature bit, VIRTIO_*_F_*.
constexpr uint64_t feature(unsigned bit) { return uint64_t{1} << bit; }

}  // namespace vmm
