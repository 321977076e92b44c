// Finding a device, bringing it up, and its queues; see virtio.h.
#include "virtio.h"

static uint32_t bar(unsigned slot, unsigned index) {
  const unsigned offset = PCI_BASE_ADDRESS_0 + 4 * index;
  const uint32_t low = pci_read32(slot, offset);
  const bool wide = (low & 6) == 4;
  if (low & 1 || (wide && pci_read32(slot, offset + 4) != 0)) {
    print("payload: slot %u: a BAR out of reach (%x)\n", slot, low);
    return 0;
  }
  return low & ~15u;
}

static void find_structures(struct virtio* device) {
  enum { kVendorSpecific = 9, kCommon = 1, kNotify = 2, kDevice = 4 };
  const unsigned slot = device->slot;
  for (unsigned at = pci_read8(slot, PCI_CAPABILITY_LIST); at; at = pci_read8(slot, at + 1)) {
    if (pci_read8(slot, at) != kVendorSpecific) continue;
    const uint8_t type = pci_read8(slot, at + 3);
    if (type != kCommon && type != kNotify && type != kDevice) continue;
    const uint32_t address = bar(slot, pci_read8(slot, at + 4)) + pci_read32(slot, at + 8);
    if (type == kCommon) device->common = address;
    if (type == kDevice) device->config = address;
    if (type == kNotify) device->notify = address, device->notify_multiplier = pci_read32(slot, at + 16);
  }
}

bool virtio_find(struct virtio* device, unsigned type, unsigned nth) {
  for (unsigned slot = 0; slot < 32; slot++) {
    if (pci_read32(slot, PCI_VENDOR_ID) != ((0x1040 + type) << 16 | 0x1af4) || nth--) continue;
    *device = (struct virtio){.slot = slot};
    pci_write16(slot, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
    find_structures(device);
    virtio_reset(device);
    return true;
  }
  return false;
}

void virtio_reset(struct virtio* device) {
  *at8(device->common + COMMON_STATUS) = 0;
  const uint64_t start = ticks();
  while (virtio_status(device) != 0) {
    if (passed(start, 10 * kSecond)) {
      expect(false, "the device has reset itself", virtio_status(device));
      return;
    }
    relax();
  }
}

uint8_t virtio_status(const struct virtio* device) { return *at8(device->common + COMMON_STATUS); }

bool virtio_negotiate(struct virtio* device, uint32_t wanted) {
  const uint32_t common = device->common;
  *at8(common + COMMON_STATUS) = STATUS_ACKNOWLEDGE;
  *at8(common + COMMON_STATUS) = STATUS_ACKNOWLEDGE | STATUS_DRIVER;
  *at32(common + COMMON_DFSELECT) = 0;
  device->features = *at32(common + COMMON_DF) & wanted;
  *at32(common + COMMON_GFSELECT) = 0;
  *at32(common + COMMON_GF) = device->features;
  *at32(common + COMMON_GFSELECT) = 1;
  *at32(common + COMMON_GF) = 1;  // VIRTIO_F_VERSION_1
  *at8(common + COMMON_STATUS) = STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK;
  return virtio_status(device) & STATUS_FEATURES_OK;
}

static void write64(uint32_t address, const volatile void* value) {
  *at32(address) = (uint32_t)(uintptr_t)value;
  *at32(address + 4) = 0;
}

void virtio_set_queue(struct virtio* device, volatile struct vring* ring, uint16_t size) {
  const uint32_t common = device->common;
  *at16(common + COMMON_Q_SELECT) = device->queue;
  const uint16_t offered = *at16(common + COMMON_Q_SIZE);
  device->size = size < offered ? size : offered;
  device->ring = ring;
  device->available = device->used = 0;
  memset((void*)ring, 0, sizeof *ring);
  // No interrupts: by the flag, or by an event index that is never reached.
  ring->available.flags = VRING_AVAIL_F_NO_INTERRUPT;
  ring->available.ring[device->size] = 0x8000;
  *at16(common + COMMON_Q_SIZE) = device->size;
  write64(common + COMMON_Q_DESC, ring->descriptors);
  write64(common + COMMON_Q_AVAIL, &ring->available);
  write64(common + COMMON_Q_USED, &ring->used);
  device->doorbell = device->notify + device->notify_multiplier * *at16(common + COMMON_Q_NOFF);
}

void virtio_enable_queue(struct virtio* device) {
  *at16(device->common + COMMON_Q_SELECT) = device->queue;
  *at16(device->common + COMMON_Q_ENABLE) = 1;
}

void virtio_driver_ok(struct virtio* device) {
  *at8(device->common + COMMON_STATUS) = virtio_status(device) | STATUS_DRIVER_OK;
}

void virtio_start(struct virtio* device, volatile struct vring* ring, uint16_t size, uint32_t wanted) {
  expect(virtio_negotiate(device, wanted), "FEATURES_OK", virtio_status(device));
  virtio_set_queue(device, ring, size);
  virtio_enable_queue(device);
  virtio_driver_ok(device);
}

void virtio_publish(struct virtio* device, uint16_t head) {
  volatile struct vring* ring = device->ring;
  ring->available.ring[device->available % device->size] = head;
  compiler_fence();  // x86 keeps stores in order
  ring->available.idx = ++device->available;
}

void virtio_kick(struct virtio* device) { *at16(device->doorbell) = device->queue; }

bool virtio_kick_if_wanted(struct virtio* device, uint16_t before) {
  full_fence();
  const uint16_t avail_event = (uint16_t)device->ring->used.ring[device->size].id;
  const bool wanted = device->features & VIRTIO_RING_F_EVENT_IDX
                          ? (uint16_t)(device->available - avail_event - 1) < (uint16_t)(device->available - before)
                          : !(device->ring->used.flags & VRING_USED_F_NO_NOTIFY);
  if (wanted) virtio_kick(device);
  return wanted;
}

void virtio_put_off_interrupt(struct virtio* device) {
  if (device->features & VIRTIO_RING_F_EVENT_IDX)
    device->ring->available.ring[device->size] = (uint16_t)(device->used - 1);
}

bool virtio_wait_used(struct virtio* device, struct vring_used_elem* element, uint64_t span) {
  const uint64_t start = ticks();
  while (device->ring->used.idx == device->used) {
    if (passed(start, span)) return false;
    relax();
  }
  compiler_fence();
  element->id = device->ring->used.ring[device->used % device->size].id;
  element->len = device->ring->used.ring[device->used % device->size].len;
  device->used++;
  return true;
}

bool virtio_wait_needs_reset(const struct virtio* device, uint64_t span) {
  const uint64_t start = ticks();
  while (!(virtio_status(device) & STATUS_NEEDS_RESET)) {
    if (passed(start, span)) return false;
    relax();
  }
  return true;
}
