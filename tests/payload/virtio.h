// The driver's side of a modern virtio PCI device (Virtio 1.2 §4.1), polled: one queue, no interrupts. A driver of
// several has as many copies of `struct virtio`. Everything in it is open, so that a payload can build what no honest
// driver would.
#pragma once

#include "pci.h"

enum { kVirtioNet = 1, kVirtioBlock = 2, kVirtioRng = 4 };
enum { VRING_DESC_F_NEXT = 1, VRING_DESC_F_WRITE = 2, VRING_DESC_F_INDIRECT = 4 };
enum { VRING_AVAIL_F_NO_INTERRUPT = 1, VRING_USED_F_NO_NOTIFY = 1 };
enum { VIRTIO_RING_F_INDIRECT_DESC = 1u << 28, VIRTIO_RING_F_EVENT_IDX = 1u << 29 };  // of the low 32 bits
enum {
  STATUS_ACKNOWLEDGE = 1,
  STATUS_DRIVER = 2,
  STATUS_DRIVER_OK = 4,
  STATUS_FEATURES_OK = 8,
  STATUS_NEEDS_RESET = 64
};

// struct virtio_pci_common_cfg, §4.1.4.3.
enum {
  COMMON_DFSELECT = 0,
  COMMON_DF = 4,
  COMMON_GFSELECT = 8,
  COMMON_GF = 12,
  COMMON_MSIX = 16,
  COMMON_NUMQ = 18,
  COMMON_STATUS = 20,
  COMMON_Q_SELECT = 22,
  COMMON_Q_SIZE = 24,
  COMMON_Q_MSIX = 26,
  COMMON_Q_ENABLE = 28,
  COMMON_Q_NOFF = 30,
  COMMON_Q_DESC = 32,
  COMMON_Q_AVAIL = 40,
  COMMON_Q_USED = 48,
};

struct vring_desc {
  uint64_t addr;
  uint32_t len;
  uint16_t flags, next;
};
struct vring_used_elem {
  uint32_t id, len;
};

enum { kMaxQueue = 256 };
struct vring {  // in guest memory, for the largest queue; event fields follow the entries in use
  struct vring_desc descriptors[kMaxQueue];
  struct {
    uint16_t flags, idx, ring[kMaxQueue + 1];
  } available __attribute__((aligned(4096)));
  struct {
    uint16_t flags, idx;
    struct vring_used_elem ring[kMaxQueue + 1];
  } used __attribute__((aligned(4096)));
} __attribute__((aligned(4096)));

struct virtio {
  unsigned slot;
  uint32_t common, notify, config;  // addresses
  uint32_t notify_multiplier;
  uint32_t features;  // accepted, low 32 bits
  uint16_t queue;     // which
  uint16_t size;      // of the queue
  volatile uint32_t doorbell;
  volatile struct vring* ring;
  uint16_t available;  // free-running, as published
  uint16_t used;       // free-running, as consumed
};

// The nth device of a type on the bus, reset. False when there is none.
bool virtio_find(struct virtio* device, unsigned type, unsigned nth);
// Writes 0 to the status and waits until the device says 0.
void virtio_reset(struct virtio* device);
uint8_t virtio_status(const struct virtio* device);
// Up to FEATURES_OK, accepting what is both offered and wanted; then the queue with a ring of at most `size`;
// DRIVER_OK.
bool virtio_negotiate(struct virtio* device, uint32_t wanted);
void virtio_set_queue(struct virtio* device, volatile struct vring* ring, uint16_t size);
void virtio_enable_queue(struct virtio* device);  // as set_queue(), which calls it, described it
void virtio_driver_ok(struct virtio* device);
void virtio_start(struct virtio* device, volatile struct vring* ring, uint16_t size, uint32_t wanted);

// Makes a head available without telling; tells.
void virtio_publish(struct virtio* device, uint16_t head);
void virtio_kick(struct virtio* device);
// Tells if the device wants to hear of what was published since the index was `before` (§2.7.10). True when it was
// told.
bool virtio_kick_if_wanted(struct virtio* device, uint16_t before);
// Puts off interrupts once more, where an event index is in use: none before its counter has gone all the way round.
void virtio_put_off_interrupt(struct virtio* device);
// The next used element within the time, else false.
bool virtio_wait_used(struct virtio* device, struct vring_used_elem* element, uint64_t span);
bool virtio_wait_needs_reset(const struct virtio* device, uint64_t span);
