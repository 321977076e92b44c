// Requests that no driver makes, against virtio-blk: each is refused by itself, and the disk goes on working.
#include "cases.h"

enum {
  VIRTIO_BLK_T_IN = 0,
  VIRTIO_BLK_T_OUT = 1,
  VIRTIO_BLK_T_FLUSH = 4,
  VIRTIO_BLK_T_GET_ID = 8,
  VIRTIO_BLK_T_DISCARD = 11,
  VIRTIO_BLK_T_WRITE_ZEROES = 13
};
enum { VIRTIO_BLK_S_OK = 0, VIRTIO_BLK_S_IOERR = 1, VIRTIO_BLK_S_UNSUPP = 2, kUntouched = 0xee };
enum { kFlush = 1u << 9, kDiscard = 1u << 13, kWriteZeroes = 1u << 14 };
enum { kIn = VRING_DESC_F_WRITE, kOut = 0 };

static struct vring ring;
static struct virtio disk;
static struct {
  uint32_t type, reserved;
  uint64_t sector;
} header;
static struct {
  uint64_t sector;
  uint32_t sectors, flags;
} range;
static uint8_t data[8192] __attribute__((aligned(4096)));
static volatile uint8_t status;

// The request's status, or kUntouched when the head came back without one.
static uint8_t request(uint32_t type, uint64_t sector, const void* payload, uint32_t length, uint16_t direction) {
  struct vring_used_elem used = {0, 0};
  header.type = type, header.sector = sector;
  status = kUntouched;
  ring.descriptors[0] = (struct vring_desc){(uint32_t)&header, 16, VRING_DESC_F_NEXT, length ? 1 : 2};
  ring.descriptors[1] = (struct vring_desc){(uint32_t)payload, length, direction | VRING_DESC_F_NEXT, 2};
  ring.descriptors[2] = (struct vring_desc){(uint32_t)&status, 1, VRING_DESC_F_WRITE, 0};
  virtio_publish(&disk, 0);
  virtio_kick(&disk);
  expect(virtio_wait_used(&disk, &used, 10 * kSecond), "a request comes back", type);
  return status;
}

static void good(const char* after) {
  memset(data, 0xa5, 512);
  expect(request(VIRTIO_BLK_T_OUT, 7, data, 512, kOut) == VIRTIO_BLK_S_OK, after, status);
  memset(data, 0, 512);
  expect(request(VIRTIO_BLK_T_IN, 7, data, 512, kIn) == VIRTIO_BLK_S_OK, after, status);
  expect(data[0] == 0xa5 && data[511] == 0xa5, after, data[0]);
  expect(request(VIRTIO_BLK_T_FLUSH, 0, NULL, 0, kIn) == VIRTIO_BLK_S_OK, after, status);
}

static void refused(uint32_t type, uint64_t sector, uint32_t length, uint16_t direction, uint8_t wanted,
                    const char* name) {
  const uint8_t got = request(type, sector, data, length, direction);
  expect(got == wanted, name, got);
  good(name);
}

// A chain given as it is: all that is asked is that the head comes back.
static void returned(const struct vring_desc* chain, const char* name) {
  struct vring_used_elem used = {0, 0};
  status = kUntouched;
  for (unsigned i = 0; i < 3; i++) ring.descriptors[i] = chain[i];
  virtio_publish(&disk, 0);
  virtio_kick(&disk);
  expect(virtio_wait_used(&disk, &used, 10 * kSecond), name, 0);
  expect(status != VIRTIO_BLK_S_OK, name, status);
  good(name);
}

static uint8_t range_request(uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags) {
  range.sector = sector, range.sectors = sectors, range.flags = flags;
  return request(type, 0, &range, sizeof range, kOut);
}

static void abuse_ranges(uint64_t capacity) {
  memset(data, 0xff, 4096);
  request(VIRTIO_BLK_T_OUT, 64, data, 4096, kOut);
  expect(range_request(VIRTIO_BLK_T_WRITE_ZEROES, 64, 8, 0) == VIRTIO_BLK_S_OK, "write zeroes", status);
  request(VIRTIO_BLK_T_IN, 64, data, 4096, kIn);
  expect(data[0] == 0 && data[4095] == 0, "zeroes are read back", data[0]);
  expect(range_request(VIRTIO_BLK_T_DISCARD, 64, 8, 0) == VIRTIO_BLK_S_OK, "discard", status);
  expect(range_request(VIRTIO_BLK_T_DISCARD, capacity, 8, 0) == VIRTIO_BLK_S_IOERR, "discard beyond the end", status);
  expect(range_request(VIRTIO_BLK_T_DISCARD, ~0ull, 8, 0) == VIRTIO_BLK_S_IOERR, "discard that wraps around", status);
  expect(range_request(VIRTIO_BLK_T_DISCARD, 0, 8, 2) == VIRTIO_BLK_S_UNSUPP, "unknown flags of discard", status);
  expect(range_request(VIRTIO_BLK_T_WRITE_ZEROES, capacity - 1, 8, 0) == VIRTIO_BLK_S_IOERR, "zeroes beyond the end",
         status);
  good("ranges");
}

// A reset while many reads are under way. Once the status says 0, memory is the driver's again.
static void reset_with_reads(void) {
  enum { kRequests = 5, kBytes = 64 * 1024, kBuffers = 16 << 20 };
  for (unsigned n = 0; n < kRequests; n++) {
    ring.descriptors[3 * n] = (struct vring_desc){(uint32_t)&header, 16, VRING_DESC_F_NEXT, (uint16_t)(3 * n + 1)};
    ring.descriptors[3 * n + 1] = (struct vring_desc){kBuffers + n * kBytes, kBytes,
                                                      VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, (uint16_t)(3 * n + 2)};
    ring.descriptors[3 * n + 2] = (struct vring_desc){(uint32_t)&status, 1, VRING_DESC_F_WRITE, 0};
    virtio_publish(&disk, (uint16_t)(3 * n));
  }
  virtio_kick(&disk);
  virtio_reset(&disk);
  volatile uint32_t* const words = (volatile uint32_t*)kBuffers;
  const uint32_t count = kRequests * kBytes / 4;
  for (uint32_t i = 0; i < count; i += 128) words[i] = 0x77777777;
  const uint16_t index = ring.used.idx;
  const uint64_t start = ticks();
  while (!passed(start, kSecond / 100)) relax();
  uint32_t changed = 0;
  for (uint32_t i = 0; i < count; i += 128) changed += words[i] != 0x77777777;
  expect(changed == 0 && ring.used.idx == index, "nothing is written after the reset", changed);
}

// One head twice, the second while the first is in flight.
static void same_head_twice(void) {
  header.type = VIRTIO_BLK_T_IN, header.sector = 0;
  ring.descriptors[0] = (struct vring_desc){(uint32_t)&header, 16, VRING_DESC_F_NEXT, 1};
  ring.descriptors[1] = (struct vring_desc){(uint32_t)data, sizeof data, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 2};
  ring.descriptors[2] = (struct vring_desc){(uint32_t)&status, 1, VRING_DESC_F_WRITE, 0};
  virtio_publish(&disk, 0);
  virtio_publish(&disk, 0);
  virtio_kick(&disk);
  // Latched; or, had the first ended before the second was looked at, both served.
  const uint64_t start = ticks();
  while (!(virtio_status(&disk) & STATUS_NEEDS_RESET) && ring.used.idx != 2 && !passed(start, 5 * kSecond)) relax();
  expect(virtio_status(&disk) & STATUS_NEEDS_RESET || ring.used.idx == 2, "a head twice", ring.used.idx);
}

void reset_while_busy(void) {
  if (!virtio_find(&disk, kVirtioBlock, 0)) {
    expect(false, "virtio-blk is there", 0);
    return;
  }
  header.type = VIRTIO_BLK_T_IN, header.sector = 0;
  for (unsigned round = 0; round < argument("rounds", 10); round++) {
    virtio_start(&disk, &ring, 16, 0);
    reset_with_reads();
    virtio_start(&disk, &ring, 16, 0);
    same_head_twice();
    virtio_reset(&disk);
  }
  virtio_start(&disk, &ring, 16, kFlush);
  good("resets while busy");
}

uint32_t next_boot(void) {
  expect(virtio_find(&disk, kVirtioBlock, 0), "virtio-blk is there", 0);
  virtio_start(&disk, &ring, 16, kFlush);
  request(VIRTIO_BLK_T_IN, 0, data, 512, kIn);
  const uint32_t boots = ++*(uint32_t*)data;
  request(VIRTIO_BLK_T_OUT, 0, data, 512, kOut);
  return boots;
}

void abuse_disk(void) {
  if (!virtio_find(&disk, kVirtioBlock, 0)) {
    expect(false, "virtio-blk is there", 0);
    return;
  }
  const uint64_t capacity = *at32(disk.config) | (uint64_t)*at32(disk.config + 4) << 32;
  virtio_start(&disk, &ring, 16, kFlush | kDiscard | kWriteZeroes);
  good("the first start");

  refused(VIRTIO_BLK_T_IN, capacity, 512, kIn, VIRTIO_BLK_S_IOERR, "read at the capacity");
  refused(VIRTIO_BLK_T_OUT, capacity, 512, kOut, VIRTIO_BLK_S_IOERR, "write at the capacity");
  refused(VIRTIO_BLK_T_OUT, ~0ull, 512, kOut, VIRTIO_BLK_S_IOERR, "the last sector of all");
  refused(VIRTIO_BLK_T_OUT, 1ull << 55, 512, kOut, VIRTIO_BLK_S_IOERR, "a sector whose byte wraps around");
  refused(VIRTIO_BLK_T_OUT, capacity - 1, 1024, kOut, VIRTIO_BLK_S_IOERR, "write over the end");
  refused(VIRTIO_BLK_T_IN, 0, 511, kIn, VIRTIO_BLK_S_IOERR, "a read of no whole sectors");
  refused(VIRTIO_BLK_T_IN, 0, 512, kOut, VIRTIO_BLK_S_IOERR, "a read into what is readable");
  refused(VIRTIO_BLK_T_OUT, 0, 512, kIn, VIRTIO_BLK_S_IOERR, "a write from what is writable");
  refused(2, 0, 512, kIn, VIRTIO_BLK_S_UNSUPP, "SCSI");
  refused(3, 0, 512, kOut, VIRTIO_BLK_S_UNSUPP, "SCSI");
  refused(0x80000000, 0, 512, kIn, VIRTIO_BLK_S_UNSUPP, "the barrier bit");
  refused(0xffffffff, 0, 512, kIn, VIRTIO_BLK_S_UNSUPP, "every bit");
  refused(VIRTIO_BLK_T_FLUSH, 99, 512, kOut, VIRTIO_BLK_S_OK, "a flush with data");
  expect(request(VIRTIO_BLK_T_GET_ID, 0, data, 20, kIn) == VIRTIO_BLK_S_OK, "the serial", status);

  const uint32_t head = (uint32_t)&header, end = (uint32_t)&status;
  header.type = VIRTIO_BLK_T_IN, header.sector = 0;
  returned((struct vring_desc[3]){{head, 8, VRING_DESC_F_NEXT, 1}, {end, 1, VRING_DESC_F_WRITE, 0}}, "half a header");
  returned((struct vring_desc[3]){{head, 16, 0, 0}}, "no status");
  returned((struct vring_desc[3]){{head, 16, VRING_DESC_F_NEXT, 1}, {end, 1, 0, 0}}, "a status that is read-only");
  returned((struct vring_desc[3]){{head, 16, VRING_DESC_F_NEXT, 1}, {end, 0, VRING_DESC_F_WRITE, 0}},
           "a status of no bytes");
  returned((struct vring_desc[3]){{0xd0000000, 16, VRING_DESC_F_NEXT, 1}, {end, 1, VRING_DESC_F_WRITE, 0}},
           "a header nowhere");
  returned((struct vring_desc[3]){{head, 16, VRING_DESC_F_NEXT, 1},
                                  {0xd0000000, 512, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 2},
                                  {end, 1, VRING_DESC_F_WRITE, 0}},
           "data nowhere");
  abuse_ranges(capacity);

  // The ring is latched, and back after a reset.
  ring.available.ring[disk.available % disk.size] = 0xffff;
  compiler_fence();
  ring.available.idx = (uint16_t)(disk.available + 1);
  virtio_kick(&disk);
  expect(virtio_wait_needs_reset(&disk, 5 * kSecond), "a head beyond the table", virtio_status(&disk));
  virtio_reset(&disk);
  virtio_start(&disk, &ring, 16, kFlush | kDiscard | kWriteZeroes);
  good("a reset");
}
