// Rings and transport accesses that no driver makes, against virtio-rng: each must end as the ladder of
// devices/README.md says, and the device must serve an honest request afterwards.
#include "cases.h"

static struct vring ring;
// Fixed places in free memory, so that tables of chains can name them.
enum { kBuffer = 8 << 20, kTable = 9 << 20, kInner = 10 << 20 };
static uint8_t* const buffer = (uint8_t*)kBuffer;
static struct vring_desc* const table = (struct vring_desc*)kTable;
static struct vring_desc* const inner = (struct vring_desc*)kInner;

enum { kNext = VRING_DESC_F_NEXT, kWrite = VRING_DESC_F_WRITE, kIndirect = VRING_DESC_F_INDIRECT };

static void entropy(struct virtio* rng, const char* after) {
  struct vring_used_elem used = {0, 0};
  memset(buffer, 0, 64);
  ring.descriptors[0] = (struct vring_desc){kBuffer, 64, kWrite, 0};
  virtio_publish(rng, 0);
  virtio_kick(rng);
  expect(virtio_wait_used(rng, &used, 5 * kSecond), after, virtio_status(rng));
  expect(used.id == 0 && used.len == 64, after, used.len);
  uint32_t zeroes = 0;
  for (unsigned i = 0; i < 64; i++) zeroes += buffer[i] == 0;
  expect(zeroes < 16, after, zeroes);
}

void good_entropy(struct virtio* rng, const char* after) {
  virtio_reset(rng);
  virtio_start(rng, &ring, 16, VIRTIO_RING_F_INDIRECT_DESC);
  entropy(rng, after);
}

// Chains that are no good, from descriptor 0 on: the head comes back, empty.
static const struct {
  const char* name;
  struct vring_desc chain[3];
} bad_chains[] = {
    {"a descriptor that follows itself", {{kBuffer, 16, kWrite | kNext, 0}}},
    {"a cycle", {{kBuffer, 16, kNext, 1}, {kBuffer, 16, kWrite | kNext, 0}}},
    {"a link out of the table", {{kBuffer, 16, kWrite | kNext, 16}}},
    {"a link far out of the table", {{kBuffer, 16, kWrite | kNext, 0xffff}}},
    {"an address that wraps around", {{0xfffffffffffff000, 0x2000, kWrite, 0}}},
    {"an address in no memory", {{0xd0000000, 16, kWrite, 0}}},
    {"an address far beyond memory", {{0x7fffffffffff0000, 16, kWrite, 0}}},
    {"a buffer that runs out of memory", {{0xbffffff0, 0x7fffffff, kWrite, 0}}},
    {"no bytes", {{kBuffer, 0, kWrite, 0}}},
    {"no bytes, three times",
     {{kBuffer, 0, kWrite | kNext, 1}, {kBuffer, 0, kWrite | kNext, 2}, {kBuffer, 0, kWrite, 0}}},
    {"an indirect table of no bytes", {{kTable, 0, kIndirect, 0}}},
    {"an indirect table of 17 bytes", {{kTable, 17, kIndirect, 0}}},
    {"an indirect table of 65537 entries", {{kTable, 16 * 65537, kIndirect, 0}}},
    {"an indirect table outside memory", {{0xd0000000, 16, kIndirect, 0}}},
    {"an indirect table that wraps around", {{0xfffffffffffffff0, 32, kIndirect, 0}}},
    {"an indirect table with a link beside it", {{kTable, 16, kIndirect | kNext, 1}, {kBuffer, 16, kWrite, 0}}},
    {"an indirect table in itself", {{kInner, 16, kIndirect, 0}}},
    {"readable after writable", {{kBuffer, 16, kWrite | kNext, 1}, {kBuffer, 16, 0, 0}}},
    {"nothing to write to", {{kBuffer, 16, 0, 0}}},
};

static void abuse_chains(struct virtio* rng) {
  for (unsigned i = 0; i < sizeof bad_chains / sizeof *bad_chains; i++) {
    struct vring_used_elem used = {0, 0};
    for (unsigned d = 0; d < 3; d++) ring.descriptors[d] = bad_chains[i].chain[d];
    inner[0] = (struct vring_desc){kInner, 16, kIndirect, 0};
    virtio_publish(rng, 0);
    virtio_kick(rng);
    expect(virtio_wait_used(rng, &used, 5 * kSecond), bad_chains[i].name, 0);
    expect(used.id == 0 && used.len == 0, bad_chains[i].name, used.len);
    entropy(rng, bad_chains[i].name);
  }
}

// Buffers in the device's own registers; and shapes that are odd but legal.
static void odd_buffers(struct virtio* rng) {
  struct vring_used_elem used = {0, 1};
  ring.descriptors[0] = (struct vring_desc){rng->common, 32, kWrite, 0};
  virtio_publish(rng, 0);
  virtio_kick(rng);
  expect(virtio_wait_used(rng, &used, 5 * kSecond) && used.len == 0, "a buffer in the device's registers", used.len);
  for (unsigned i = 0; i < kMaxQueue; i++)
    table[i] =
        (struct vring_desc){kBuffer + 16 * i, 16, i + 1 < kMaxQueue ? kWrite | kNext : kWrite, (uint16_t)(i + 1)};
  ring.descriptors[0] = (struct vring_desc){kTable, kMaxQueue * 16, kIndirect | kWrite, 0};
  virtio_publish(rng, 0);
  virtio_kick(rng);
  expect(virtio_wait_used(rng, &used, 5 * kSecond) && used.len == 4096, "an indirect table marked writable", used.len);
  entropy(rng, "odd buffers");
}

// Rings that cannot be trusted latch the queue until a reset.
static void break_ring(struct virtio* rng, const char* name, uint16_t head, uint16_t index) {
  virtio_reset(rng);
  virtio_start(rng, &ring, 16, VIRTIO_RING_F_INDIRECT_DESC);
  ring.available.ring[0] = head;
  compiler_fence();
  ring.available.idx = index;
  virtio_kick(rng);
  expect(virtio_wait_needs_reset(rng, 5 * kSecond), name, virtio_status(rng));
  for (unsigned i = 0; i < 100; i++) virtio_kick(rng);
  good_entropy(rng, name);
}

// Queues that no device can serve.
static void bad_queue(struct virtio* rng, const char* name, uint32_t offset, uint32_t value) {
  virtio_reset(rng);
  virtio_negotiate(rng, 0);
  virtio_set_queue(rng, &ring, 16);
  if (offset == COMMON_Q_SIZE) *at16(rng->common + offset) = (uint16_t)value;
  if (offset != COMMON_Q_SIZE) *at32(rng->common + offset) = value;
  virtio_enable_queue(rng);
  virtio_driver_ok(rng);
  virtio_kick(rng);
  expect(virtio_wait_needs_reset(rng, 5 * kSecond), name, virtio_status(rng));
  good_entropy(rng, name);
}

void abuse_ring(void) {
  struct virtio rng;
  if (!virtio_find(&rng, kVirtioRng, 0)) {
    expect(false, "virtio-rng is there", 0);
    return;
  }
  good_entropy(&rng, "the first start");
  abuse_chains(&rng);
  odd_buffers(&rng);
  break_ring(&rng, "a head beyond the table", 16, 1);
  break_ring(&rng, "a head far beyond the table", 0xffff, 1);
  break_ring(&rng, "an index that went back", 0, 0xffff);
  break_ring(&rng, "an index beyond the queue's size", 0, 17);
  bad_queue(&rng, "a queue of 0", COMMON_Q_SIZE, 0);
  bad_queue(&rng, "a queue of 3", COMMON_Q_SIZE, 3);
  bad_queue(&rng, "a queue of 32769", COMMON_Q_SIZE, 32769);
  bad_queue(&rng, "descriptors in no memory", COMMON_Q_DESC, 0xd0000000);
  bad_queue(&rng, "descriptors far beyond memory", COMMON_Q_DESC + 4, 0x7fffffff);
  bad_queue(&rng, "used ring at the end of all addresses", COMMON_Q_USED, 0xfffffffc);
  bad_queue(&rng, "available ring off by a byte", COMMON_Q_AVAIL, (uint32_t)&ring.available + 1);
}

// The common configuration.
void abuse_transport(void) {
  struct virtio rng;
  if (!virtio_find(&rng, kVirtioRng, 0)) {
    expect(false, "virtio-rng is there", 0);
    return;
  }
  const uint32_t common = rng.common;
  *at16(common + COMMON_Q_SELECT) = 0xffff;
  expect(*at16(common + COMMON_Q_SIZE) == 0, "a queue that is not there has no size", *at16(common + COMMON_Q_SIZE));
  for (uint32_t offset = COMMON_Q_SIZE; offset < 64; offset += 2)
    *at16(common + offset) = 0xffff, (void)*at16(common + offset);
  *at16(common + COMMON_Q_SELECT) = 0;
  *at16(common + COMMON_Q_MSIX) = 0x7fff;
  expect(*at16(common + COMMON_Q_MSIX) == 0xffff, "no such vector", *at16(common + COMMON_Q_MSIX));
  *at32(common + COMMON_DFSELECT) = 0xffffffff;
  expect(*at32(common + COMMON_DF) == 0, "no features there", *at32(common + COMMON_DF));

  *at8(common + COMMON_STATUS) = STATUS_ACKNOWLEDGE | STATUS_DRIVER;
  *at32(common + COMMON_GFSELECT) = 0;
  *at32(common + COMMON_GF) = 0xffffffff;
  *at32(common + COMMON_GFSELECT) = 1;
  *at32(common + COMMON_GF) = 0xffffffff;
  *at8(common + COMMON_STATUS) = STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK;
  expect(!(virtio_status(&rng) & STATUS_FEATURES_OK), "features that were not offered", virtio_status(&rng));

  good_entropy(&rng, "abuse of the registers");
  *at16(common + COMMON_Q_SELECT) = 0;
  *at16(common + COMMON_Q_SIZE) = 1;
  *at32(common + COMMON_Q_DESC) = 0xd0000000;
  expect(*at16(common + COMMON_Q_SIZE) == 16, "the size stays while the queue is in use",
         *at16(common + COMMON_Q_SIZE));
  entropy(&rng, "a queue rewritten while in use");

  // Every access to every structure, other notifications included. The structures lie in 32 KiB.
  for (uint32_t offset = 64; offset < 0x8000; offset += 4) {
    *at32(common + offset) = 0xffffffff;
    *at16(common + offset + 1) = 0xffff;
    (void)*at32(common + offset + 3);
  }
  good_entropy(&rng, "writes all over the BAR");

  for (uint32_t i = 0; i < argument("resets", 100); i++) {
    virtio_reset(&rng);
    virtio_start(&rng, &ring, 16, 0);
  }
  good_entropy(&rng, "many resets");
}

static uint32_t msix_capability(unsigned slot) {
  enum { kMsix = 0x11 };
  uint32_t at = pci_read8(slot, PCI_CAPABILITY_LIST);
  while (at && pci_read8(slot, at) != kMsix) at = pci_read8(slot, at + 1);
  return at;
}

// Messages to nowhere, and vectors that are masked and unmasked all the time, while interrupts are raised.
void abuse_interrupts(void) {
  enum { kEnable = 0x8000, kFunctionMask = 0x4000 };
  static const uint32_t messages[][3] = {{0xfee00000, 0, 0xffffffff}, {0xfee00000, 0xffffffff, 0x40},
                                         {0x12345678, 0, 0x41},       {0xfffffffc, 0xffffffff, 0xffffffff},
                                         {0xfeeff000, 0, 0xffff},     {0, 0, 0}};
  struct virtio rng;
  const bool found = virtio_find(&rng, kVirtioRng, 0);
  const uint32_t capability = found ? msix_capability(rng.slot) : 0;
  expect(capability != 0, "virtio-rng has MSI-X", found);
  if (!capability) return;
  const uint32_t place = pci_read32(rng.slot, capability + 4);
  const uint32_t entries = (pci_read32(rng.slot, PCI_BASE_ADDRESS_0 + 4 * (place & 7)) & ~15u) + (place & ~7u);
  const unsigned count = (pci_read16(rng.slot, capability + 2) & 0x7ff) + 1;

  for (unsigned m = 0; m < sizeof messages / sizeof *messages; m++) {
    virtio_reset(&rng);
    pci_write16(rng.slot, capability + 2, kEnable);
    for (unsigned i = 0; i < count; i++) {
      for (unsigned word = 0; word < 3; word++) *at32(entries + 16 * i + 4 * word) = messages[m][word];
      *at32(entries + 16 * i + 12) = 0;  // unmasked
    }
    virtio_negotiate(&rng, 0);
    virtio_set_queue(&rng, &ring, 16);
    *at16(rng.common + COMMON_Q_MSIX) = 0;
    *at16(rng.common + COMMON_MSIX) = 1;
    ring.available.flags = 0;
    virtio_enable_queue(&rng);
    virtio_driver_ok(&rng);
    for (unsigned i = 0; i < 50; i++) {
      *at32(entries + 12) = i & 1;
      pci_write16(rng.slot, capability + 2, i & 2 ? kEnable | kFunctionMask : kEnable);
      entropy(&rng, "an interrupt to nowhere");
    }
  }
  for (unsigned i = 0; i < 2000; i++) *at32(entries + 12) = i & 1;
  pci_write16(rng.slot, capability + 2, 0);
  good_entropy(&rng, "abuse of interrupts");
}
