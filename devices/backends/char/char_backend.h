// CharBackend: a byte stream to the host, which a guest's console is connected to, as its device sees it.
//
// Neither direction ever blocks or grows without bound. Towards the host, write() takes what fits into a buffer; a
// refusal is followed by on_writable. A reader that takes nothing for a second no longer holds the guest up: from then
// on the oldest output is dropped, and counted, until it reads again. Towards the guest, the device takes as many bytes
// as it can use, and the host is not read from any more once a bounded rest waits.
// The implementation is CharStream (char_stream.h).
#pragma once

#include <cstddef>
#include <functional>
#include <span>

namespace vmm {

class CharBackend {
 public:
  virtual ~CharBackend() = default;

  // Queues output and returns how many bytes were taken. When not all, on_writable follows. Any thread.
  virtual size_t write(std::span<const std::byte> bytes) = 0;
  // Writes the last words of a device that stops and cannot wait for room: there is more room for them than for
  // write().
  virtual size_t write_last(std::span<const std::byte> bytes) = 0;
  // Called on the loop when output that was refused may be offered again. May be null. Set on the loop's thread.
  virtual void set_on_writable(std::function<void()> on_writable) = 0;

  // Called on the loop with what has arrived; returns how many bytes were taken. The rest is offered again after
  // resume_input(). Null detaches the device: input waits for the next one. Set on the loop's thread.
  virtual void set_input(std::function<size_t(std::span<const std::byte>)> on_input) = 0;
  // There is room for refused input. Any thread.
  virtual void resume_input() = 0;
};

}  // namespace vmm
