// virtio-console: consoles and named byte channels. Virtio 1.2 §5.3.
//
// Each port has a receive and a transmit queue and is connected to a CharBackend. Neither side's slowness blocks
// anybody else: output that the backend refuses stays in its chain until the backend has room, and input that the guest
// has no buffer for stays with the backend, but for a few kilobytes in the port's inbox.
//
//   queue 0, 1          port 0: to the driver, from the driver
//   queue 2, 3          control messages, only with VIRTIO_CONSOLE_F_MULTIPORT
//   queue 2 + 2n, ...   port n > 0
//
// A device with one port, a console, does not offer F_MULTIPORT. It needs none of it: its size is in the configuration
// space, where drivers agree about the order of columns and rows. They do not in the RESIZE message:
// Linux before 6.15 reads it the wrong way round. But Linux looks at the configuration only when told of a change, and
// not before its port stands; so a size from before then is told with the first input, when somebody is at the
// terminal.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "devices/backends/char/char_backend.h"
#include "devices/virtio/virtio_device.h"
#include "vmm/core/wakeup.h"

namespace vmm {

class VirtioConsole : public VirtioDevice {
 public:
  struct PortConfig {
    std::string name;  // "console", or what appears in the guest as /dev/virtio-ports/NAME
    bool is_console = false;
    CharBackend& backend;
  };

  // At least one port. Built and destroyed on the loop's thread.
  explicit VirtioConsole(const std::vector<PortConfig>& ports);
  VirtioConsole(const VirtioConsole&) = delete;
  VirtioConsole& operator=(const VirtioConsole&) = delete;
  ~VirtioConsole() override;

  // The terminal has another size: tells the driver (loop thread).
  void set_window_size(uint16_t columns, uint16_t rows);

  std::string name() const override { return "virtio-console"; }
  VirtioTraits traits() const override;
  void read_config(size_t offset, std::span<std::byte> out) const override;
  void activate(uint64_t features) override;
  Task<void> serve(size_t index, Virtqueue& queue) override;
  void stopping() override;
  void reset() override;

 private:
  struct Port {
    PortConfig config;
    std::array<std::byte, 4096> inbox;
    size_t inbox_size = 0;
    Wakeup input;        // the inbox has something
    Wakeup output;       // the backend takes more
    bool ready = false;  // the driver has set it up (F_MULTIPORT only)
  };

  bool offers_multiport() const { return ports_.size() > 1 || !ports_.front().config.is_console; }
  size_t take_input(Port& port, std::span<const std::byte> bytes);
  Task<void> receive(Port& port, Virtqueue& queue);
  Task<void> transmit(Port& port, Virtqueue& queue);
  void wake_next_turn(Port& port, EventLoop& loop);
  Task<void> send_control(Virtqueue& queue);
  Task<void> receive_control(Virtqueue& queue);
  void handle_control(uint32_t id, uint16_t event, uint16_t value);
  void announce(uint32_t id);
  void post_control(uint32_t id, uint16_t event, uint16_t value, std::span<const std::byte> payload = {});
  void post_size(uint32_t id);

  std::deque<Port> ports_;                      // they do not move
  std::deque<std::vector<std::byte>> control_;  // messages for the driver
  Wakeup control_posted_;
  bool running_ = false;
  bool multiport_ = false;  // negotiated
  uint16_t columns_ = 0;
  uint16_t rows_ = 0;
  bool size_untold_ = false;  // set when no driver was there to be told
  // Callbacks queued in the loop may outlive the device: they hold this weakly.
  std::shared_ptr<VirtioConsole*> self_;
};

}  // namespace vmm
