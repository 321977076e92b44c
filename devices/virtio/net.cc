// Frames both ways, and control messages; see net.h.
#include "devices/virtio/net.h"

#include <algorithm>
#include <climits>
#include <cstring>
#include <optional>
#include <utility>

#include "devices/backends/iovecs.h"
#include "devices/virtio/net_header.h"

namespace vmm {

namespace {

constexpr uint16_t kQueueSize = 256;
constexpr uint16_t kControlQueueSize = 64;

// What a driver may turn off and on again (§5.1.6.5.6.1).
constexpr uint64_t kGuestOffloads = feature(VIRTIO_NET_F_GUEST_CSUM) | feature(VIRTIO_NET_F_GUEST_TSO4) |
                                    feature(VIRTIO_NET_F_GUEST_TSO6) | feature(VIRTIO_NET_F_GUEST_ECN) |
                                    feature(VIRTIO_NET_F_GUEST_USO4) | feature(VIRTIO_NET_F_GUEST_USO6);
constexpr uint64_t kGuestSegments = kGuestOffloads & ~feature(VIRTIO_NET_F_GUEST_CSUM);

template <typename T>
bool read_value(const DescriptorChain& chain, size_t offset, T& value) {
  return chain.read_at(offset, std::as_writable_bytes(std::span(&value, 1))) == sizeof value;
}

// A table of §5.1.6.5.2 at `offset`, which is moved past it.
std::optional<NetFilter::Table> read_table(const DescriptorChain& chain, size_t& offset) {
  uint32_t count = 0;
  if (!read_value(chain, offset, count)) return std::nullopt;
  offset += sizeof count;
  const size_t there = chain.readable_size() - offset;
  if (there / sizeof(MacAddress) < count) return std::nullopt;
  NetFilter::Table table;
  table.addresses.resize(std::min<size_t>(count, NetFilter::kTable));
  table.overflowed = count > NetFilter::kTable;
  chain.read_at(offset, std::as_writable_bytes(std::span(table.addresses)));
  offset += count * sizeof(MacAddress);
  return table;
}

}  // namespace

static_assert(sizeof(virtio_net_hdr_v1) == kNetHeader);

VirtioNet::VirtioNet(NetBackend& backend, const MacAddress& mac, SourceFilter source_filter, std::string name)
    : backend_(backend), mac_(mac), source_filter_(source_filter), name_(std::move(name)), pairs_(backend.queues()) {
  std::ranges::copy(mac.bytes, config_.mac);
  config_.status = backend_.link_up() ? VIRTIO_NET_S_LINK_UP : 0;
  config_.max_virtqueue_pairs = static_cast<uint16_t>(pairs_.size());
  config_.mtu = backend_.mtu();
  backend_.attach(this);
}

VirtioNet::~VirtioNet() { backend_.attach(nullptr); }

VirtioTraits VirtioNet::traits() const {
  uint64_t features = feature(VIRTIO_NET_F_MAC) | feature(VIRTIO_NET_F_STATUS) | feature(VIRTIO_NET_F_MRG_RXBUF) |
                      feature(VIRTIO_NET_F_CTRL_VQ) | feature(VIRTIO_NET_F_CTRL_RX) |
                      feature(VIRTIO_NET_F_CTRL_RX_EXTRA) | backend_.offloads();
  if (source_filter_ == SourceFilter::kOff) features |= feature(VIRTIO_NET_F_CTRL_MAC_ADDR);
  if ((backend_.offloads() & kGuestOffloads) != 0) features |= feature(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
  if (pairs_.size() > 1) features |= feature(VIRTIO_NET_F_MQ);
  if (config_.mtu != 0) features |= feature(VIRTIO_NET_F_MTU);
  std::vector<uint16_t> sizes(2 * pairs_.size(), kQueueSize);
  sizes.push_back(kControlQueueSize);
  return {.device_id = VIRTIO_ID_NET,
          .features = features,
          .queue_sizes = std::move(sizes),
          .config_size = offsetof(virtio_net_config, speed),
          .pci_class = 0x020000};  // "Ethernet controller"
}

bool VirtioNet::accepts(uint64_t features) const { return net_features_agree(features); }

void VirtioNet::read_config(size_t offset, std::span<std::byte> out) const {
  const auto bytes = std::as_bytes(std::span(&config_, 1)).subspan(offset, out.size());
  std::copy(bytes.begin(), bytes.end(), out.begin());
}

void VirtioNet::link_changed() {
  const bool up = backend_.link_up();
  change_config([&] { config_.status = up ? VIRTIO_NET_S_LINK_UP : 0; });
}

void VirtioNet::activate(uint64_t features) {
  features_ = features;
  guest_offloads_ = features & kGuestOffloads;
  backend_.configure(guest_offloads_, pairs_used_);
  running_ = true;
}

void VirtioNet::stopping() {
  running_ = false;
  for (Pair& pair : pairs_) {
    pair.arrived.notify();
    pair.room.notify();
  }
}

void VirtioNet::reset() {
  features_ = 0;
  guest_offloads_ = 0;
  pairs_used_ = 1;
  filter_ = {};
  change_config([this] { std::ranges::copy(mac_.bytes, config_.mac); });
  backend_.configure(0, 1);
}

// Where the control queue is depends on what was negotiated (§5.1.2). Beyond it there is nothing.
Task<void> VirtioNet::serve(size_t index, Virtqueue& queue) {
  const size_t pairs = has(VIRTIO_NET_F_MQ) ? pairs_.size() : 1;
  if (index < 2 * pairs) return index % 2 == 0 ? receive(index / 2, queue) : transmit(index / 2, queue);
  if (index == 2 * pairs && has(VIRTIO_NET_F_CTRL_VQ)) return control(queue);
  return serve_nothing();
}

// ---- to the driver

void VirtioNet::Held::add(DescriptorChain chain) {
  for (const GuestSlice& slice : chain.writable()) parts.push_back(slice.iov());
  bytes += chain.writable_size();
  chains.push_back(std::move(chain));
}

// They go back to the driver in order.
void VirtioNet::Held::remove_front(size_t count) {
  size_t removed = 0;
  for (; count > 0; --count) {
    removed += chains.front().writable().size();
    bytes -= chains.front().writable_size();
    chains.pop_front();
  }
  parts.erase(parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(removed));
}

size_t VirtioNet::longest_frame() const {
  if ((features_ & kGuestSegments) != 0 || config_.mtu == 0) return kMaxFrame;
  constexpr size_t kVlanTags = 8;
  return kNetHeader + kEthernetHeader + kVlanTags + config_.mtu;
}

// A chain without room for a header, or with something to read, is just returned.
void VirtioNet::hold(Held& held, DescriptorChain chain) const {
  const bool usable = chain.readable().empty() && chain.writable_size() >= kNetHeader + kEthernetHeader;
  // One place in the list is for the spill.
  if (usable && held.parts.size() + chain.writable().size() < IOV_MAX) held.add(std::move(chain));
}

void VirtioNet::fill(Held& held, Virtqueue& queue) const {
  const size_t enough = longest_frame();
  while (merges() ? held.bytes < enough && held.parts.size() < IOV_MAX / 2 : held.chains.empty()) {
    auto chain = queue.try_next();
    if (!chain) return;
    hold(held, std::move(*chain));
  }
}

Task<void> VirtioNet::receive(size_t index, Virtqueue& queue) {
  Pair& pair = pairs_[index];
  if (!pair.spill) pair.spill = std::make_unique_for_overwrite<std::byte[]>(kMaxFrame);
  Held held;
  while (running_ && !queue.stopped()) {
    if (index >= pairs_used_) {
      co_await pair.arrived;
      continue;
    }
    fill(held, queue);
    if (held.chains.empty()) {
      auto chain = co_await queue.next();
      if (chain) hold(held, std::move(*chain));
      continue;
    }
    held.parts.push_back({pair.spill.get(), kMaxFrame});
    const auto length = backend_.receive(index, held.parts);
    held.parts.pop_back();
    if (!length) {
      co_await pair.arrived;
      continue;
    }
    bool good = *length >= kNetHeader + kEthernetHeader && *length <= kMaxFrame && wanted(held);
    if (good && *length > held.bytes) {
      good = co_await find_room(held, queue, {pair.spill.get(), *length - held.bytes});
    }
    if (good) {
      deliver(held, *length);
      queue.loop().count_request();  // a frame takes as many buffers as it needs, which says nothing
    } else {
      ++stats_.received_dropped;
    }
  }
  while (!held.chains.empty()) {
    queue.put_back(std::move(held.chains.back()));
    held.chains.pop_back();
  }
}

// Holds more buffers until there is room for the rest of a frame, and moves it there. False when there never will be.
Task<bool> VirtioNet::find_room(Held& held, Virtqueue& queue, std::span<const std::byte> rest) {
  const size_t parts = held.parts.size();
  const size_t needed = held.bytes + rest.size();
  while (held.bytes < needed) {
    const bool more = merges() && held.chains.size() < queue.size() && held.parts.size() < IOV_MAX / 2;
    if (!more) co_return false;
    auto chain = co_await queue.next();
    if (!chain || !running_) co_return false;
    hold(held, std::move(*chain));
  }
  scatter(rest, std::span(held.parts).subspan(parts));
  co_return true;
}

// Looks at the frame that has just been written to the held buffers. It is the driver's already, so what it changes
// there meanwhile is its own affair.
bool VirtioNet::wanted(const Held& held) const {
  if (filter_.wants_all()) return true;
  std::array<std::byte, kNetHeader + sizeof(MacAddress)> start;
  gather(held.parts, start);
  MacAddress destination, own;
  std::memcpy(&destination, start.data() + kNetHeader, sizeof destination);
  std::ranges::copy(config_.mac, own.bytes.begin());
  return filter_.wants(destination, own);
}

void VirtioNet::deliver(Held& held, size_t length) {
  size_t count = 0;
  for (size_t left = length; left > 0; ++count) {
    DescriptorChain& chain = held.chains[count];
    const size_t part = std::min(left, chain.writable_size());
    chain.set_written(part);
    left -= part;
  }
  // Before any of them is returned.
  const auto buffers = static_cast<uint16_t>(count);
  held.chains.front().write_at(offsetof(virtio_net_hdr_v1, num_buffers), std::as_bytes(std::span(&buffers, 1)));
  if ((guest_offloads_ & feature(VIRTIO_NET_F_GUEST_CSUM)) == 0) {
    const std::byte none{0};  // §5.1.6.4.1: nor that the host has checked the checksum
    held.chains.front().write_at(offsetof(virtio_net_hdr_v1, flags), {&none, 1});
  }
  held.remove_front(count);
  ++stats_.received;
}

// ---- from the driver

Task<void> VirtioNet::transmit(size_t index, Virtqueue& queue) {
  Wakeup& room = pairs_[index].room;  // by name: GCC 12 awaits a copy of what an operator returned
  FrameStart start{};
  std::vector<iovec> frame;
  while (auto chain = co_await queue.next()) {
    if (index >= pairs_used_ || !prepare(*chain, start, frame)) {
      ++stats_.sent_dropped;
      continue;
    }
    ++stats_.sent;
    while (running_ && !backend_.send(index, frame)) co_await room;
  }
}

bool VirtioNet::prepare(const DescriptorChain& chain, FrameStart& start, std::vector<iovec>& frame) const {
  static_assert(sizeof(FrameStart) == kNetHeader + kEthernetHeader);
  const size_t size = chain.readable_size();
  if (!chain.writable().empty() || size < sizeof start || size > kMaxFrame) return false;
  chain.read_at(0, std::as_writable_bytes(std::span(&start, 1)));
  if (!clean_header(start.header, size - kNetHeader, features_)) return false;
  if (source_filter_ == SourceFilter::kOn && start.source != mac_) return false;

  frame.clear();
  frame.push_back({&start, sizeof start});
  size_t skip = sizeof start;
  for (const GuestSlice& slice : chain.readable()) {
    const GuestSlice rest = slice.sub(skip, slice.size());
    skip -= slice.size() - rest.size();
    if (!rest.empty()) frame.push_back(rest.iov());
  }
  return frame.size() <= IOV_MAX;
}

// ---- control messages (§5.1.6.5)

Task<void> VirtioNet::control(Virtqueue& queue) {
  while (auto chain = co_await queue.next()) {
    const std::byte answer{obey(*chain) ? uint8_t{VIRTIO_NET_OK} : uint8_t{VIRTIO_NET_ERR}};
    chain->write({&answer, 1});
    chain.reset();
    co_await queue.loop().next_turn();  // changing a tap's queues takes the host milliseconds
  }
}

bool VirtioNet::obey(const DescriptorChain& chain) {
  virtio_net_ctrl_hdr message{};
  if (!read_value(chain, 0, message)) return false;
  uint8_t on = 0;
  switch (message.class_) {
    case VIRTIO_NET_CTRL_RX:
      if (!read_value(chain, sizeof message, on)) return false;
      return filter_.set_mode(message.cmd, on != 0);
    case VIRTIO_NET_CTRL_MAC:
      if (message.cmd == VIRTIO_NET_CTRL_MAC_TABLE_SET) return set_filter_tables(chain);
      return message.cmd == VIRTIO_NET_CTRL_MAC_ADDR_SET && set_mac(chain);
    case VIRTIO_NET_CTRL_MQ:
      return message.cmd == VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET && set_pairs(chain);
    case VIRTIO_NET_CTRL_GUEST_OFFLOADS:
      return message.cmd == VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET && set_offloads(chain);
    default:
      return false;
  }
}

bool VirtioNet::set_filter_tables(const DescriptorChain& chain) {
  size_t offset = sizeof(virtio_net_ctrl_hdr);
  auto unicast = read_table(chain, offset);
  if (!unicast) return false;
  auto multicast = read_table(chain, offset);
  if (!multicast) return false;
  filter_.set_tables(std::move(*unicast), std::move(*multicast));
  return true;
}

bool VirtioNet::set_mac(const DescriptorChain& chain) {
  MacAddress mac;
  if (!has(VIRTIO_NET_F_CTRL_MAC_ADDR) || !read_value(chain, sizeof(virtio_net_ctrl_hdr), mac)) return false;
  change_config([&] { std::ranges::copy(mac.bytes, config_.mac); });
  return true;
}

bool VirtioNet::set_pairs(const DescriptorChain& chain) {
  virtio_net_ctrl_mq wanted{};
  if (!has(VIRTIO_NET_F_MQ) || !read_value(chain, sizeof(virtio_net_ctrl_hdr), wanted)) return false;
  if (wanted.virtqueue_pairs < 1 || wanted.virtqueue_pairs > pairs_.size()) return false;
  pairs_used_ = wanted.virtqueue_pairs;
  backend_.configure(guest_offloads_, pairs_used_);
  for (Pair& pair : pairs_) pair.arrived.notify();
  return true;
}

bool VirtioNet::set_offloads(const DescriptorChain& chain) {
  uint64_t offloads = 0;
  if (!has(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS)) return false;
  if (!read_value(chain, sizeof(virtio_net_ctrl_hdr), offloads)) return false;
  if ((offloads & ~(features_ & kGuestOffloads)) != 0 || !net_features_agree(offloads)) return false;
  guest_offloads_ = offloads;
  backend_.configure(guest_offloads_, pairs_used_);
  return true;
}

}  // namespace vmm
