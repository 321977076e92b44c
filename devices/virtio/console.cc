// Queues and control messages; see console.h.
#include "devices/virtio/console.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include "devices/virtio/spec.h"
#include "vmm/core/check.h"
#include "vmm/core/turn_budget.h"

namespace vmm {

namespace {

constexpr uint16_t kQueueSize = 128;
constexpr size_t kControlIn = 2;   // to the driver
constexpr size_t kControlOut = 3;  // from the driver
// A driver that asks and asks but offers no buffer for the answers gets no further ones.
constexpr size_t kMaxControl = 256;
// Output that a port takes in one turn of the loop, and in all once the device is stopping.
constexpr size_t kTurnOutput = size_t{256} << 10;
constexpr size_t kLastOutput = size_t{4} << 20;

}  // namespace

VirtioConsole::VirtioConsole(const std::vector<PortConfig>& ports) : self_(std::make_shared<VirtioConsole*>(this)) {
  CHECK(!ports.empty());
  for (const PortConfig& config : ports) {
    Port& port = ports_.emplace_back(Port{.config = config});
    config.backend.set_on_writable([&port] { port.output.notify(); });
    config.backend.set_input([this, &port](std::span<const std::byte> bytes) { return take_input(port, bytes); });
  }
}

VirtioConsole::~VirtioConsole() {
  for (Port& port : ports_) {
    port.config.backend.set_input(nullptr);
    port.config.backend.set_on_writable(nullptr);
  }
}

VirtioTraits VirtioConsole::traits() const {
  const size_t queues = offers_multiport() ? 2 + 2 * ports_.size() : 2;
  return {.device_id = VIRTIO_ID_CONSOLE,
          .features = feature(VIRTIO_CONSOLE_F_SIZE) | (offers_multiport() ? feature(VIRTIO_CONSOLE_F_MULTIPORT) : 0),
          .queue_sizes = std::vector<uint16_t>(queues, kQueueSize),
          .config_size = offsetof(virtio_console_config, emerg_wr),
          .pci_class = 0x078000};  // "other communication controller"
}

void VirtioConsole::read_config(size_t offset, std::span<std::byte> out) const {
  const virtio_console_config config = {
      .cols = columns_, .rows = rows_, .max_nr_ports = static_cast<uint32_t>(ports_.size())};
  const auto bytes = std::as_bytes(std::span(&config, 1)).subspan(offset, out.size());
  std::copy(bytes.begin(), bytes.end(), out.begin());
}

void VirtioConsole::set_window_size(uint16_t columns, uint16_t rows) {
  change_config([&] {  // §5.3.4: with F_SIZE the size in the configuration may change
    columns_ = columns;
    rows_ = rows;
  });
  if (!running_) {
    size_untold_ = true;
    return;
  }
  for (uint32_t id = 0; id < ports_.size(); ++id) {
    if (ports_[id].config.is_console && ports_[id].ready) post_size(id);
  }
}

void VirtioConsole::activate(uint64_t features) {
  running_ = true;
  multiport_ = (features & feature(VIRTIO_CONSOLE_F_MULTIPORT)) != 0;
}

void VirtioConsole::stopping() {
  running_ = false;
  control_posted_.notify();
  for (Port& port : ports_) {
    port.input.notify();
    port.output.notify();
  }
}

void VirtioConsole::reset() {
  control_.clear();
  size_untold_ = columns_ > 0;
  for (Port& port : ports_) port.ready = false;
}

Task<void> VirtioConsole::serve(size_t index, Virtqueue& queue) {
  if (index >= kControlIn && !multiport_) return serve_nothing();
  if (index == kControlIn) return send_control(queue);
  if (index == kControlOut) return receive_control(queue);
  Port& port = ports_[index < kControlIn ? 0 : index / 2 - 1];
  return index % 2 == 0 ? receive(port, queue) : transmit(port, queue);
}

// ---- ports

size_t VirtioConsole::take_input(Port& port, std::span<const std::byte> bytes) {
  const size_t length = std::min(bytes.size(), port.inbox.size() - port.inbox_size);
  std::copy_n(bytes.begin(), length, port.inbox.begin() + static_cast<std::ptrdiff_t>(port.inbox_size));
  port.inbox_size += length;
  port.input.notify();
  return length;
}

// Takes a buffer only when there is something to put into it, so none is held while a guest is idle.
Task<void> VirtioConsole::receive(Port& port, Virtqueue& queue) {
  for (;;) {
    while (port.inbox_size == 0 && running_) co_await port.input;
    if (!running_) co_return;
    auto chain = co_await queue.next();
    if (!chain) co_return;
    const size_t length = chain->write(std::span(port.inbox).first(port.inbox_size));
    port.inbox_size -= length;
    std::memmove(port.inbox.data(), port.inbox.data() + length, port.inbox_size);
    if (length > 0) port.config.backend.resume_input();
    if (std::exchange(size_untold_, false)) change_config([] {});
  }
}

// Unlike a wait for the loop's next turn alone, this one ends when the device is stopping: what is in the ring behind
// it is due then.
void VirtioConsole::wake_next_turn(Port& port, EventLoop& loop) {
  loop.post([weak = std::weak_ptr(self_), &port] {
    if (weak.lock()) port.output.notify();
  });
}

// A chain is held until the backend has taken all of it, or the device is stopped: then it must take it now.
Task<void> VirtioConsole::transmit(Port& port, Virtqueue& queue) {
  std::array<std::byte, 4096> part;
  TurnBudget budget(queue.loop(), kTurnOutput);
  size_t last = kLastOutput;
  while (auto chain = co_await queue.next()) {
    size_t sent = 0;
    while (const size_t length = chain->read_at(sent, part)) {
      CharBackend& backend = port.config.backend;
      const auto bytes = std::span(part).first(length);
      const size_t taken = running_ ? backend.write(bytes) : backend.write_last(bytes);
      sent += taken;
      if (!running_) last -= std::min(last, length);
      if (!running_ && (taken < length || last == 0)) co_return;
      if (taken < length) co_await port.output;
      budget.charge(length);
      while (running_ && budget.left() == 0) {
        wake_next_turn(port, queue.loop());
        co_await port.output;
      }
    }
  }
}

// ---- control messages (§5.3.6.2)

Task<void> VirtioConsole::send_control(Virtqueue& queue) {
  for (;;) {
    while (control_.empty() && running_) co_await control_posted_;
    if (!running_) co_return;
    auto chain = co_await queue.next();
    if (!chain) co_return;
    const std::vector<std::byte> message = std::move(control_.front());
    control_.pop_front();
    if (chain->writable_size() >= message.size()) chain->write(message);
  }
}

// Messages that are too short, name no port or mean nothing to a device are ignored.
Task<void> VirtioConsole::receive_control(Virtqueue& queue) {
  while (auto chain = co_await queue.next()) {
    virtio_console_control message = {};
    if (chain->read_at(0, std::as_writable_bytes(std::span(&message, 1))) < sizeof message) continue;
    handle_control(message.id, message.event, message.value);
  }
}

void VirtioConsole::handle_control(uint32_t id, uint16_t event, uint16_t value) {
  if (event == VIRTIO_CONSOLE_DEVICE_READY && value == 1) {  // it names no port
    for (uint32_t port = 0; port < ports_.size(); ++port) post_control(port, VIRTIO_CONSOLE_PORT_ADD, 1);
  }
  if (event == VIRTIO_CONSOLE_PORT_READY && id < ports_.size()) {
    ports_[id].ready = value == 1;
    if (ports_[id].ready) announce(id);
  }
  // PORT_OPEN from the driver changes nothing: output is taken whenever it comes, and input waits in its buffers.
}

// What the driver needs to know of a port that it has set up.
void VirtioConsole::announce(uint32_t id) {
  const PortConfig& config = ports_[id].config;
  if (config.is_console) post_control(id, VIRTIO_CONSOLE_CONSOLE_PORT, 1);
  post_control(id, VIRTIO_CONSOLE_PORT_NAME, 1, std::as_bytes(std::span(config.name)));
  post_control(id, VIRTIO_CONSOLE_PORT_OPEN, 1);
  if (config.is_console) post_size(id);
}

void VirtioConsole::post_size(uint32_t id) {
  const std::array<uint16_t, 2> size = {columns_, rows_};  // struct virtio_console_resize, in the standard's order
  if (columns_ > 0) post_control(id, VIRTIO_CONSOLE_RESIZE, 0, std::as_bytes(std::span(size)));
}

void VirtioConsole::post_control(uint32_t id, uint16_t event, uint16_t value, std::span<const std::byte> payload) {
  if (control_.size() >= kMaxControl) return;
  const virtio_console_control header = {.id = id, .event = event, .value = value};
  const auto bytes = std::as_bytes(std::span(&header, 1));
  std::vector<std::byte>& message = control_.emplace_back(bytes.begin(), bytes.end());
  message.insert(message.end(), payload.begin(), payload.end());
  control_posted_.notify();
}

}  // namespace vmm
