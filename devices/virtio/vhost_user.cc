// The front end: features, rings and interrupts, handed to a back-end that may come and go; see vhost_user.h.
#include "devices/virtio/vhost_user.h"

#include <sys/uio.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "devices/virtio/net_header.h"
#include "devices/virtio/spec.h"

namespace vmm {

namespace {

constexpr uint16_t kQueueSize = 256;
constexpr uint16_t kFsQueueSize = 1024;  // as that of VirtioFs
constexpr size_t kBlockConfigSize = offsetof(virtio_blk_config, max_secure_erase_sectors);
constexpr size_t kWriteCache = offsetof(virtio_blk_config, wce);

template <typename Config>
std::vector<std::byte> bytes_of(const Config& config, size_t size = sizeof(Config)) {
  const auto bytes = std::as_bytes(std::span(&config, 1)).first(size);
  return {bytes.begin(), bytes.end()};
}

// The back-end has this eventfd too and could make reading it wait; this does not (Linux 5.8).
void drain(const EventFd& event) {
  uint64_t count = 0;
  const iovec part{&count, sizeof count};
  (void)!::preadv2(event.fd(), &part, 1, -1, RWF_NOWAIT);
}

VirtioTraits traits_of(uint16_t device_id, uint32_t pci_class, const VhostUserAbilities& can, size_t config_size,
                       std::vector<uint16_t> queue_sizes) {
  constexpr uint64_t kOwn = feature(VIRTIO_F_VERSION_1) | feature(VIRTIO_RING_F_INDIRECT_DESC) |
                            feature(VIRTIO_RING_F_EVENT_IDX) | feature(VHOST_USER_F_PROTOCOL_FEATURES);
  return {.device_id = device_id,
          .features = can.features & ~kOwn,
          .queue_sizes = std::move(queue_sizes),
          .config_size = config_size,
          .pci_class = pci_class,
          .ring_bits = can.features};
}

}  // namespace

// ---- the kinds

VhostUserRole vhost_user_block_role() {
  return {.name = "vhost-user-blk",
          .how =
              "qemu-storage-daemon --blockdev file,node-name=d,filename=disk.img "
              "--export vhost-user-blk,id=e,node-name=d,writable=on,addr.type=unix,addr.path=SOCKET",
          .features = feature(VIRTIO_BLK_F_SIZE_MAX) | feature(VIRTIO_BLK_F_SEG_MAX) | feature(VIRTIO_BLK_F_RO) |
                      feature(VIRTIO_BLK_F_BLK_SIZE) | feature(VIRTIO_BLK_F_FLUSH) | feature(VIRTIO_BLK_F_TOPOLOGY) |
                      feature(VIRTIO_BLK_F_CONFIG_WCE) | feature(VIRTIO_BLK_F_MQ) | feature(VIRTIO_BLK_F_DISCARD) |
                      feature(VIRTIO_BLK_F_WRITE_ZEROES),
          .config_size = kBlockConfigSize};
}

VhostUserRole vhost_user_fs_role() {
  return {.name = "vhost-user-fs",
          .how = "/usr/lib/qemu/virtiofsd --socket-path=SOCKET -o source=DIR",
          .min_queues = 2};  // hiprio, requests
}

VhostUserRole vhost_user_net_role() {
  return {.name = "vhost-user-net",
          .how = "dpdk-testpmd --vdev net_vhost0,iface=SOCKET",
          .features = feature(VIRTIO_NET_F_CSUM) | feature(VIRTIO_NET_F_GUEST_CSUM) | feature(VIRTIO_NET_F_GUEST_TSO4) |
                      feature(VIRTIO_NET_F_GUEST_TSO6) | feature(VIRTIO_NET_F_GUEST_ECN) |
                      feature(VIRTIO_NET_F_GUEST_UFO) | feature(VIRTIO_NET_F_HOST_TSO4) |
                      feature(VIRTIO_NET_F_HOST_TSO6) | feature(VIRTIO_NET_F_HOST_ECN) |
                      feature(VIRTIO_NET_F_HOST_UFO) | feature(VIRTIO_NET_F_MRG_RXBUF)};
}

std::unique_ptr<VhostUser> VhostUser::block(VhostUserSocket& backend, const std::string& name, uint16_t queues) {
  const VhostUserAbilities& can = backend.abilities();
  virtio_blk_config config{};
  std::memcpy(&config, can.config.data(), kBlockConfigSize);
  const uint64_t most = (can.features & feature(VIRTIO_BLK_F_MQ)) != 0 ? config.num_queues : 1;
  queues = static_cast<uint16_t>(std::clamp<uint64_t>(std::min(most, can.queues), 1, queues));
  VirtioTraits traits = traits_of(VIRTIO_ID_BLOCK, 0x018000, can, kBlockConfigSize,
                                  std::vector<uint16_t>(queues, kQueueSize));  // "other mass storage controller"
  // A limit of 0 is none: qemu-storage-daemon offers it all the same, and Linux then cuts its requests into pages.
  if (config.size_max == 0) traits.features &= ~feature(VIRTIO_BLK_F_SIZE_MAX);
  if (config.seg_max == 0) traits.features &= ~feature(VIRTIO_BLK_F_SEG_MAX);
  return std::unique_ptr<VhostUser>(
      new VhostUser(backend, "vhost-user-blk " + name, traits, bytes_of(config, kBlockConfigSize)));
}

std::unique_ptr<VhostUser> VhostUser::fs(VhostUserSocket& backend, const std::string& tag) {
  virtio_fs_config config{.num_request_queues = 1};
  std::copy_n(tag.begin(), std::min(tag.size(), sizeof config.tag), config.tag);
  const VirtioTraits traits =
      traits_of(VIRTIO_ID_FS, 0x018000, backend.abilities(), sizeof config, {kFsQueueSize, kFsQueueSize});
  return std::unique_ptr<VhostUser>(new VhostUser(backend, "vhost-user-fs " + tag, traits, bytes_of(config)));
}

std::unique_ptr<VhostUser> VhostUser::net(VhostUserSocket& backend, const std::string& name, const MacAddress& mac) {
  virtio_net_config config{};
  std::ranges::copy(mac.bytes, config.mac);
  constexpr size_t kSize = offsetof(virtio_net_config, max_virtqueue_pairs);
  VirtioTraits traits = traits_of(VIRTIO_ID_NET, 0x020000, backend.abilities(), kSize, {kQueueSize, kQueueSize});
  traits.features |= feature(VIRTIO_NET_F_MAC) | feature(VIRTIO_NET_F_STATUS);
  return std::unique_ptr<VhostUser>(new VhostUser(backend, "vhost-user-net " + name, traits, bytes_of(config, kSize)));
}

VhostUser::Ring::Ring(EventLoop& loop, uint16_t its_index)
    : index(its_index), call_watch(loop, call.fd(), FdWatch::Event::kReadable, [this] { called(); }) {
  call_watch.arm();
}

void VhostUser::Ring::called() {
  drain(call);
  call_watch.arm();
  if (queue == nullptr) return;
  heads->observe();
  queue->interrupt();
}

VhostUser::VhostUser(VhostUserSocket& backend, std::string name, VirtioTraits traits, std::vector<std::byte> config)
    : backend_(backend),
      name_(std::move(name)),
      traits_(std::move(traits)),
      config_(std::move(config)),
      self_(std::make_shared<VhostUser*>(this)) {
  for (size_t i = 0; i < traits_.queue_sizes.size(); ++i)
    rings_.emplace_back(backend_.loop(), static_cast<uint16_t>(i));
  show_backend();
  if (traits_.device_id == VIRTIO_ID_BLOCK) write_cache_ = std::to_integer<uint8_t>(config_[kWriteCache]);
  backend_.attach(this);
}

VhostUser::~VhostUser() { backend_.attach(nullptr); }

VirtioTraits VhostUser::traits() const { return traits_; }

bool VhostUser::accepts(uint64_t features) const {
  return traits_.device_id != VIRTIO_ID_NET || net_features_agree(features);
}

// ---- configuration

void VhostUser::read_config(size_t offset, std::span<std::byte> out) const {
  const auto bytes = std::span(config_).subspan(offset, out.size());
  std::copy(bytes.begin(), bytes.end(), out.begin());
  const bool has_cache =
      traits_.device_id == VIRTIO_ID_BLOCK && offset <= kWriteCache && kWriteCache - offset < out.size();
  if (has_cache) out[kWriteCache - offset] = std::byte{write_cache_.load()};
}

// The driver may write one field, of a disk, where that was negotiated (§5.2.5).
void VhostUser::write_config(size_t offset, std::span<const std::byte> in) {
  if (!may_choose_ || offset > kWriteCache || kWriteCache - offset >= in.size()) return;
  write_cache_ = std::to_integer<uint8_t>(in[kWriteCache - offset]) & 1;
  if (write_cache_posted_.exchange(true)) return;
  backend_.loop().post([weak = std::weak_ptr(self_)] {
    if (const auto self = weak.lock()) (*self)->send_write_cache();
  });
}

void VhostUser::send_write_cache() {
  write_cache_posted_ = false;  // before the value is read: what is written from now on is posted again
  const auto channel = backend_.channel();
  if (!channel || !may_choose_) return;
  const auto value = static_cast<std::byte>(write_cache_.load());
  channel->tell_latest(VHOST_USER_SET_CONFIG, config_payload(kWriteCache, {&value, 1}));
}

// What the driver sees of a back-end: a disk's size and the like, a card's link.
void VhostUser::show_backend() {
  std::vector<std::byte> config = config_;
  if (traits_.device_id == VIRTIO_ID_BLOCK) {
    config = backend_.abilities().config;
    const auto queues = static_cast<uint16_t>(rings_.size());
    std::memcpy(config.data() + offsetof(virtio_blk_config, num_queues), &queues, sizeof queues);
  } else if (traits_.device_id == VIRTIO_ID_NET) {
    const uint16_t status = backend_.channel() ? VIRTIO_NET_S_LINK_UP : 0;
    std::memcpy(config.data() + offsetof(virtio_net_config, status), &status, sizeof status);
  }
  if (config != config_) change_config([&] { config_ = config; });
}

// ---- the driver starts and stops it

void VhostUser::negotiated(uint64_t features) {
  may_choose_ = traits_.device_id == VIRTIO_ID_BLOCK && (features & feature(VIRTIO_BLK_F_CONFIG_WCE)) != 0;
}

void VhostUser::activate(uint64_t features) {
  features_ = features;
  begun_ = started_ = stopping_ = false;
  inflight_.reset();
}

Task<void> VhostUser::serve(size_t index, Virtqueue& queue) {
  const bool multiqueue = (features_ & feature(VIRTIO_BLK_F_MQ)) != 0;
  if (traits_.device_id == VIRTIO_ID_BLOCK && index > 0 && !multiqueue) return serve_nothing();
  return serve_ring(rings_[index], queue);
}

Task<void> VhostUser::serve_ring(Ring& ring, Virtqueue& queue) {
  ring.queue = &queue;
  ring.heads.emplace(queue);
  if (serving_++ == 0) {
    co_await lead(queue.memory());
    for (Ring& other : rings_) {
      if (other.queue != nullptr && &other != &ring) other.ended.notify();
    }
  } else {
    co_await ring.ended;
  }
  ring.queue = nullptr;
  ring.heads.reset();
  --serving_;
}

void VhostUser::stopping() {
  stopping_ = true;
  changed_.notify();
}

void VhostUser::reset() {
  may_choose_ = false;
  if (traits_.device_id == VIRTIO_ID_BLOCK) write_cache_ = std::to_integer<uint8_t>(config_[kWriteCache]);
  inflight_.reset();
  inflight_fd_ = UniqueFd();
}

void VhostUser::backend_lost() {
  started_ = false;
  for (Ring& ring : rings_) {
    ring.started = false;
    // It may have returned something and died before it called.
    if (ring.queue != nullptr && ring.heads->observe()) ring.queue->interrupt();
  }
  show_backend();
}

void VhostUser::backend_found() {
  show_backend();
  changed_.notify();
}

// ---- what the back-end is told

Task<void> VhostUser::lead(const GuestMemory& memory) {
  co_await backend_.loop().next_turn();  // until all queues are served
  while (!stopping_) {
    const auto channel = backend_.channel();
    if (!started_ && channel && !channel->lost()) {
      co_await start(channel, memory);
    } else {
      co_await changed_;
    }
  }
  co_await stop_rings();
}

Task<void> VhostUser::start(std::shared_ptr<VhostUserChannel> channel, const GuestMemory& memory) {
  const uint64_t agreed = (features_ | feature(VHOST_USER_F_PROTOCOL_FEATURES)) & backend_.abilities().features;
  channel->tell(VHOST_USER_SET_FEATURES, payload_of(agreed));
  const std::vector<int> files(memory.regions().size(), memory.fd());
  if (!co_await channel->confirm(VHOST_USER_SET_MEM_TABLE, memory_table(memory), files)) {
    co_return channel->give_up("it does not take the guest's memory");
  }
  if (backend_.has(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD) && !co_await keep_account(*channel)) {
    co_return channel->give_up("it does not show its account of requests");
  }
  send_write_cache();
  for (Ring& ring : rings_) {
    if (ring.queue != nullptr) start_ring(*channel, ring);
  }
  begun_ = started_ = true;
}

// The account of who served the rings before, or a new one.
Task<bool> VhostUser::keep_account(VhostUserChannel& channel) {
  if (!begun_ || !inflight_) {
    VhostUserInflight wanted{.num_queues = static_cast<uint16_t>(rings_.size())};
    wanted.queue_size = *std::ranges::max_element(traits_.queue_sizes);
    auto reply = co_await channel.ask(VHOST_USER_GET_INFLIGHT_FD, payload_of(wanted));
    const auto account = reply ? reply->value<VhostUserInflight>() : std::nullopt;
    if (!account || !reply->fd) co_return false;
    inflight_ = *account;
    inflight_fd_ = std::move(reply->fd);
  }
  const int fd = inflight_fd_.get();
  channel.tell(VHOST_USER_SET_INFLIGHT_FD, payload_of(*inflight_), {&fd, 1});
  co_return true;
}

void VhostUser::start_ring(VhostUserChannel& channel, Ring& ring) {
  const VirtqueueConfig& place = ring.queue->config();
  if (begun_ && !inflight_) ring.heads->make_next();
  const uint16_t base = begun_ ? ring.heads->used_index() : uint16_t{0};
  const auto tell_state = [&](uint32_t request, uint32_t number) {
    channel.tell(request, payload_of(VhostUserVringState{ring.index, number}));
  };
  const auto tell_event = [&](uint32_t request, int fd) {
    channel.tell(request, payload_of(uint64_t{ring.index}), {&fd, 1});
  };
  tell_state(VHOST_USER_SET_VRING_NUM, place.size);
  tell_state(VHOST_USER_SET_VRING_BASE, base);
  channel.tell(VHOST_USER_SET_VRING_ADDR, payload_of(VhostUserVringAddress{.index = ring.index,
                                                                           .descriptors = place.descriptors.value,
                                                                           .used = place.used.value,
                                                                           .available = place.available.value}));
  tell_event(VHOST_USER_SET_VRING_CALL, ring.call.fd());
  tell_event(VHOST_USER_SET_VRING_KICK, ring.queue->kick().fd());
  if ((backend_.abilities().features & feature(VHOST_USER_F_PROTOCOL_FEATURES)) != 0) {
    tell_state(VHOST_USER_SET_VRING_ENABLE, 1);
  }
  ring.started = true;
  if (begun_) ring.queue->kick().signal();  // who died may have taken the driver's notification along
}

// Once it has said where it stopped, it writes nothing any more. One that does not say so is given up.
Task<void> VhostUser::stop_rings() {
  const auto channel = backend_.channel();
  for (Ring& ring : rings_) {
    if (!std::exchange(ring.started, false) || !channel) continue;
    co_await channel->ask(VHOST_USER_GET_VRING_BASE, payload_of(VhostUserVringState{ring.index, 0}));
  }
}

}  // namespace vmm
