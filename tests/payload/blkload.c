// blkload: keeps a virtio-blk device busy with a steady number of requests in flight and nothing else, for measuring
// the device model. Words on the command line:
//
//   op=read|write|flush  depth=1..64  size=BYTES (512..131072)  count=REQUESTS  order=sequential|random
//   disk=N  event_idx=0|1  status=N (to end with)
//
// It prints `blkload: start`, then `blkload: N requests, B bytes each, depth D, E failed, T ticks, K kicks` (a tick is
// 1024 cycles of the TSC).
#include "virtio.h"

enum { VIRTIO_BLK_T_IN = 0, VIRTIO_BLK_T_OUT = 1, VIRTIO_BLK_T_FLUSH = 4 };
enum { VIRTIO_BLK_F_FLUSH = 1 << 9 };
enum { kMaxDepth = 64, kMaxSize = 128 * 1024, kSector = 512 };

struct request {  // what its three descriptors point to
  struct {
    uint32_t type, reserved;
    uint64_t sector;
  } header;
  volatile uint8_t status;
} __attribute__((aligned(64)));

static struct vring ring;
static struct request requests[kMaxDepth];
static uint8_t data[kMaxDepth][kMaxSize] __attribute__((aligned(4096)));
static struct virtio disk;

static uint32_t type, size, sectors, blocks;
static uint32_t next_block, kicks;
static bool in_order;

void boot(void) {}

static uint32_t choose_block(void) {
  if (in_order) return next_block = next_block + 1 < blocks ? next_block + 1 : 0;
  next_block ^= next_block << 13, next_block ^= next_block >> 17, next_block ^= next_block << 5;  // xorshift32
  return next_block % blocks;
}

// Descriptors of a request stay the same all the time: 3n header, 3n + 1 data, 3n + 2 status.
static void prepare(unsigned n) {
  const bool flush = type == VIRTIO_BLK_T_FLUSH;
  struct vring_desc* descriptor = &ring.descriptors[3 * n];
  requests[n].header.type = type;
  descriptor[0] =
      (struct vring_desc){(uintptr_t)&requests[n].header, 16, VRING_DESC_F_NEXT, (uint16_t)(3 * n + (flush ? 2 : 1))};
  descriptor[1] = (struct vring_desc){(uintptr_t)data[n], size,
                                      VRING_DESC_F_NEXT | (type == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0),
                                      (uint16_t)(3 * n + 2)};
  descriptor[2] = (struct vring_desc){(uintptr_t)&requests[n].status, 1, VRING_DESC_F_WRITE, 0};
}

static void submit(unsigned n) {
  requests[n].header.sector = type == VIRTIO_BLK_T_FLUSH ? 0 : (uint64_t)choose_block() * sectors;
  requests[n].status = 0xff;
  virtio_publish(&disk, (uint16_t)(3 * n));
}

int main(void) {
  const uint32_t depth = argument("depth", 1), count = argument("count", 10000);
  type = argument_is("op", "write")   ? VIRTIO_BLK_T_OUT
         : argument_is("op", "flush") ? VIRTIO_BLK_T_FLUSH
                                      : VIRTIO_BLK_T_IN;
  size = argument("size", 4096);
  in_order = !argument_is("order", "random");
  if (!virtio_find(&disk, kVirtioBlock, argument("disk", 0)) || depth < 1 || depth > kMaxDepth || size % kSector ||
      size < kSector || size > kMaxSize) {
    print("blkload: no such disk, depth or size\n");
    return 2;
  }
  const uint32_t features = VIRTIO_BLK_F_FLUSH | (argument("event_idx", 1) ? VIRTIO_RING_F_EVENT_IDX : 0u);
  virtio_start(&disk, &ring, kMaxQueue, features);
  sectors = size / kSector;
  blocks = *at32(disk.config) / sectors;  // of what lies below 2 TiB
  next_block = in_order ? blocks - 1 : 2463534242u;
  if (disk.size < 3 * depth || blocks == 0) {
    print("blkload: a queue of %u and %u blocks are too few\n", disk.size, blocks);
    return 2;
  }

  uint32_t submitted = 0, done = 0, failures = 0;
  for (unsigned n = 0; n < depth; n++) prepare(n);
  print("blkload: start\n");
  const uint64_t start = ticks();
  for (; submitted < depth && submitted < count; submitted++) submit(submitted);
  kicks += virtio_kick_if_wanted(&disk, 0);
  while (done < count) {
    const uint16_t ended = disk.ring->used.idx, before = disk.available;
    if (ended == disk.used) {
      relax();
      continue;
    }
    compiler_fence();
    for (; disk.used != ended; disk.used++, done++) {
      const uint32_t n = disk.ring->used.ring[disk.used % disk.size].id / 3;
      if (n >= depth || requests[n].status != 0) failures++;
      if (n < depth && submitted < count) submit(n), submitted++;
    }
    virtio_put_off_interrupt(&disk);
    if (disk.available != before) kicks += virtio_kick_if_wanted(&disk, before);
  }
  const uint64_t took = ticks() - start;
  print("blkload: %u requests, %u bytes each, depth %u, %u failed, %u ticks, %u kicks\n", done, size, depth, failures,
        (uint32_t)(took >> 10), kicks);
  virtio_reset(&disk);
  expect(failures == 0, "every request succeeds", failures);
  return (int)argument("status", 0);
}
