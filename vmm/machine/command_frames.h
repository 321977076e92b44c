// The frames in which vmm and the guest's side of a command (firmware/guest/command.h) talk, as firmware/guest/frames.h
// has them.
//
// What comes from the guest is hostile: lengths are only counted down, never allocated by, and what a frame has beyond
// its kind's size is skipped.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace vmm {

class CommandFrames {
 public:
  using Bytes = std::span<const std::byte>;
  static constexpr size_t kHeader = 5;
  static constexpr size_t kMaxControl = 512;  // bytes of a frame that is not output

  class Sink {
   public:
    virtual ~Sink() = default;
    // Output of the command; returns how many bytes are taken. The rest comes again with the next feed().
    virtual size_t on_output(bool is_error, Bytes bytes) = 0;
    // Any other frame, whole, but for what exceeds kMaxControl.
    virtual void on_control(char kind, Bytes payload) = 0;
  };

  // Returns how many bytes were taken: all, unless the sink took less.
  size_t feed(Bytes bytes, Sink& sink);
  // Forgets a frame that has begun.
  void reset();

  // A frame to the guest.
  static std::vector<std::byte> frame(char kind, Bytes payload);

 private:
  size_t take_header(Bytes bytes);
  size_t take_payload(Bytes bytes, Sink& sink);

  std::array<std::byte, kHeader> header_{};
  size_t header_size_ = 0;  // kHeader: within a payload
  char kind_ = 0;
  uint32_t left_ = 0;  // bytes of the payload still to come
  std::vector<std::byte> control_;
};

}  // namespace vmm
