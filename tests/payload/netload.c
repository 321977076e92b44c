// netload: keeps a virtio-net device busy with a steady number of frames in flight and nothing else, for measuring the
// device model. Words on the command line:
//
//   op=send|echo  depth=1..64  size=BYTES (64..1514, without header)  count=FRAMES  status=N (to end with)
//
// `send`: frames of a type nobody knows (IEEE 802 local experimental), each of which counts when the device has
// returned it. `echo`: pings of 10.9.0.1, whose MAC address is 02:00:00:00:00:01, by 10.9.0.2; each counts when its
// answer has come (that there is one is the host's affair: `ip neigh` has to know who 10.9.0.2 is). One that stays out
// is sent again after a second, and counted as lost.
//
// It prints `netload: start`, then `netload: N frames, B bytes each, depth D, L lost, T ticks, K kicks` (a tick is 1024
// cycles of the TSC).
#include "virtio.h"

enum { kMaxDepth = 64, kMaxSize = 1514, kHeader = 12, kBuffers = 128 };
enum { kReceive = 0, kTransmit = 1 };
enum { kEthernet = 14, kIp = 20, kEchoRequest = 8, kEchoReply = 0 };

struct buffer {
  uint8_t header[kHeader];  // struct virtio_net_hdr_v1: nothing is offloaded
  uint8_t frame[2048 - kHeader];
} __attribute__((aligned(64)));

static struct vring rings[2];
static struct virtio queues[2];  // the same device
static struct buffer to_send[kMaxDepth], received[kBuffers];
static uint32_t size, kicks;

void boot(void) {}

static void put16(uint8_t* at, uint32_t value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

static uint16_t checksum(const uint8_t* bytes, uint32_t length) {
  uint32_t sum = 0;
  for (uint32_t i = 0; i < length; i++) sum += (uint32_t)bytes[i] << (i % 2 ? 0 : 8);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)~sum;
}

static void fill_frame(uint8_t* frame, bool echo) {
  static const uint8_t kHost[6] = {2, 0, 0, 0, 0, 1}, kOurs[6] = {2, 0, 0, 0, 0, 2};
  memcpy(frame, kHost, 6);
  memcpy(frame + 6, kOurs, 6);
  put16(frame + 12, echo ? 0x0800 : 0x88b5);
  if (!echo) return;
  uint8_t* const ip = frame + kEthernet;
  static const uint8_t kAddresses[8] = {10, 9, 0, 2, 10, 9, 0, 1};
  ip[0] = 0x45;
  put16(ip + 2, size - kEthernet);
  ip[8] = 64;  // TTL
  ip[9] = 1;   // ICMP
  memcpy(ip + 12, kAddresses, sizeof kAddresses);
  put16(ip + 10, checksum(ip, kIp));
  uint8_t* const icmp = ip + kIp;
  icmp[0] = kEchoRequest;
  put16(icmp + 2, checksum(icmp, size - kEthernet - kIp));
}

// Whether a frame is an answer to a ping; what else the host says to its networks is not counted.
static bool is_answer(const uint8_t* frame) {
  return frame[12] == 0x08 && frame[13] == 0 && frame[kEthernet + 9] == 1 && frame[kEthernet + kIp] == kEchoReply;
}

// Takes all that the device has returned; how many there were, or of the frames received, how many were answers. Those
// go back to the device at once.
static uint32_t take(struct virtio* queue, uint16_t* free, uint32_t* frees) {
  const uint16_t ended = queue->ring->used.idx, before = queue->available;
  if (ended == queue->used) return 0;
  compiler_fence();
  uint32_t count = 0;
  for (; queue->used != ended; queue->used++) {
    const uint16_t head = (uint16_t)queue->ring->used.ring[queue->used % queue->size].id;
    if (queue->queue == kTransmit) {
      free[(*frees)++] = head;
      count++;
    } else {
      count += is_answer(received[head % kBuffers].frame);
      virtio_publish(queue, head);
    }
  }
  virtio_put_off_interrupt(queue);
  if (queue->available != before) kicks += virtio_kick_if_wanted(queue, before);
  return count;
}

static bool start(bool echo, uint32_t depth) {
  struct virtio* const receive = &queues[kReceive];
  if (!virtio_find(receive, kVirtioNet, 0)) return false;
  expect(virtio_negotiate(receive, VIRTIO_RING_F_EVENT_IDX), "FEATURES_OK", virtio_status(receive));
  queues[kTransmit] = *receive;
  for (unsigned i = 0; i < 2; i++) {
    queues[i].queue = (uint16_t)i;
    virtio_set_queue(&queues[i], &rings[i], kMaxQueue);
    virtio_enable_queue(&queues[i]);
  }
  virtio_driver_ok(receive);
  for (uint16_t n = 0; n < depth; n++) {
    fill_frame(to_send[n].frame, echo);
    rings[kTransmit].descriptors[n] = (struct vring_desc){(uintptr_t)&to_send[n], kHeader + size, 0, 0};
  }
  for (uint16_t n = 0; n < kBuffers; n++) {
    rings[kReceive].descriptors[n] =
        (struct vring_desc){(uintptr_t)&received[n], sizeof received[n], VRING_DESC_F_WRITE, 0};
    virtio_publish(receive, n);
  }
  virtio_kick(receive);
  return queues[kTransmit].size >= depth && receive->size >= kBuffers;
}

int main(void) {
  const uint32_t depth = argument("depth", 1), count = argument("count", 10000);
  const bool echo = argument_is("op", "echo");
  size = argument("size", 64);
  if (depth < 1 || depth > kMaxDepth || size < 64 || size > kMaxSize || !start(echo, depth)) {
    print("netload: no network card, or no such depth or size\n");
    return 2;
  }
  struct virtio *receive = &queues[kReceive], *transmit = &queues[kTransmit];
  uint16_t free[kMaxDepth];  // frames of ours that are not with the device
  uint32_t frees = 0, sent = 0, done = 0, lost = 0;
  for (uint16_t n = 0; n < depth; n++) free[frees++] = n;
  print("netload: start\n");
  const uint64_t began = ticks();
  for (uint64_t last = began; done < count;) {
    const uint16_t before = transmit->available;
    // Without answers that count, the device's own are enough.
    while (frees > 0 && sent < count && sent - done < depth) virtio_publish(transmit, free[--frees]), sent++;
    if (transmit->available != before) kicks += virtio_kick_if_wanted(transmit, before);
    const uint32_t returned = take(transmit, free, &frees), answers = take(receive, free, &frees);
    const uint32_t now_done = echo ? answers : returned;
    done += now_done;
    if (now_done > 0) {
      last = ticks();
    } else if (echo && passed(last, kSecond)) {
      lost += sent - done;
      sent = done;
      last = ticks();
    } else {
      relax();
    }
    if (lost > count) break;
  }
  const uint64_t took = ticks() - began;
  print("netload: %u frames, %u bytes each, depth %u, %u lost, %u ticks, %u kicks\n", done, size, depth, lost,
        (uint32_t)(took >> 10), kicks);
  virtio_reset(receive);
  expect(done >= count, "every frame counts in the end", done);
  return (int)argument("status", 0);
}
