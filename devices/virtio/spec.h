// The kernel's virtio headers, included in one place because some need help to be valid C++.
#pragma once

#include <linux/types.h>

#define VIRTIO_RING_NO_LEGACY  // its legacy helpers do pointer arithmetic that C++ refuses
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
