// VsockStream: the host's end of one vsock connection, a Unix socket that is never waited for.
//
// What the guest sends and the host does not take yet is kept here, up to kCapacity: that is the credit a guest gets
// (virtio 1.2 §5.10.6.3). What the host sends stays in the socket until the guest has room for it.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "vmm/core/event_loop.h"
#include "vmm/core/fd.h"

namespace vmm {

class VsockStream {
 public:
  static constexpr size_t kCapacity = 64 * 1024;
  enum class Event { kInput, kOutput };  // there is input, or an end of it; some output was taken, or never will be

  VsockStream(EventLoop& loop, UniqueFd socket);

  // Called on the loop, not from within the calls below. It may destroy the stream.
  void set_on_event(std::function<void(Event)> on_event) { on_event_ = std::move(on_event); }

  // How many bytes there were; none: Event::kInput will follow. Nothing at the end of the stream.
  std::optional<size_t> read(std::span<std::byte> to);
  // Whether the host has closed an ended stream altogether, not just its sending side.
  bool closed() const;

  // Takes all of it, which is at most kCapacity - buffered(). Once the host takes no more it goes nowhere.
  void write(std::span<const std::byte> bytes);
  size_t buffered() const { return output_.size() - sent_; }
  bool broken() const { return broken_; }

  void end_input();   // the guest takes no more
  void end_output();  // the guest sends no more; the host hears of it behind what is buffered

 private:
  void flush();
  void send_some();
  void await_room();

  EventLoop& loop_;
  UniqueFd socket_;
  FdWatch readable_;
  std::optional<FdWatch> writable_;  // made when first needed: a watch takes a descriptor
  std::function<void(Event)> on_event_;
  std::vector<std::byte> output_;  // what the host has not taken is from sent_ on
  size_t sent_ = 0;
  bool ending_ = false;
  bool broken_ = false;
};

}  // namespace vmm
