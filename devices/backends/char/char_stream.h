// CharStream: the buffers between a console device and its endpoint on the host, both ways.
//
//   device --write()--> pending -> taken -> [time stamps] -> log file, outgoing ring -> host
//   device <-on_input-- incoming ring <- [key filter] <- host
//
// write() only appends to `pending` under a mutex and wakes the loop if it sleeps; while a guest prints, the loop comes
// by itself every kPace, so that a boot that prints byte by byte costs no wake-ups. The loop takes `pending` as a
// whole, shows it to the observer, and moves it on as far as the host accepts it.
//
// With no peer (no client on the socket, standard output closed) or with one that has taken nothing for kStall while
// its buffer was full, the outgoing ring keeps the newest 256 KiB and drops the oldest. A client that connects later
// thus gets the boot log first. Log file and observer see everything.
//
// From the host at most 64 KiB are read ahead of the guest: the escape keys among them work although the guest is
// stuck.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "devices/backends/char/char_backend.h"
#include "devices/backends/char/char_endpoint.h"
#include "devices/backends/char/char_ring.h"
#include "vmm/core/fd.h"

namespace vmm {

class CharStream : public CharBackend {
 public:
  using Bytes = std::span<const std::byte>;
  using Receiver = std::function<void(Bytes)>;
  // Sees what arrived from the host and passes on what is meant for the guest, in order.
  using Filter = std::function<void(Bytes arrived, const Receiver& to_guest)>;

  struct Stats {
    uint64_t sent = 0;     // bytes that the host took
    uint64_t dropped = 0;  // bytes that nobody read in time
    uint64_t errors = 0;   // writes that the host refused for good: EPIPE, ENOSPC
  };

  // Throws Error when the log cannot be opened.
  CharStream(EventLoop& loop, std::unique_ptr<CharEndpoint> endpoint, const CharConfig& config);
  CharStream(const CharStream&) = delete;
  CharStream& operator=(const CharStream&) = delete;

  size_t write(Bytes bytes) override { return append(bytes, kPendingSize); }
  size_t write_last(Bytes bytes) override { return append(bytes, kLastSize); }
  void set_on_writable(std::function<void()> on_writable) override { on_writable_ = std::move(on_writable); }
  void set_input(std::function<size_t(Bytes)> on_input) override;
  void resume_input() override;

  // The rest is for the loop's thread.
  void set_observer(Receiver observer) { observer_ = std::move(observer); }  // all output of the guest, in order
  void set_filter(Filter filter) { filter_ = std::move(filter); }
  // Takes out of the output, before anybody sees it, what is not the console's, or adds to it; may be shown none.
  void set_output_filter(std::function<void(std::vector<std::byte>&)> filter) { output_filter_ = std::move(filter); }
  void look_at_output() { drain(); }  // soon, even when there is none, for that filter to add to
  // Others at the same console (char_visitors.h). Like an observer, this sees all output.
  void set_listener(Receiver listener) { listener_ = std::move(listener); }
  // Input of theirs, as if the host had sent it, past the filter. Returns how much was taken: what there is room for.
  size_t type(Bytes bytes);
  size_t room_to_type() const { return incoming_.room() - std::min(incoming_.room(), kReadSize); }
  // Called when there may be room again after there was none.
  void set_on_room_to_type(std::function<void()> on_room) { on_room_ = std::move(on_room); }
  void set_timestamps(bool on) { timestamps_ = on; }
  bool timestamps() const { return timestamps_; }
  const Stats& stats() const { return stats_; }
  // Waits until the peer has everything, but not longer than `limit`; the log gets the rest in any case. For the end of
  // the guest; works with the loop stopped.
  void flush(std::chrono::milliseconds limit);

 private:
  static constexpr size_t kPendingSize = 128 * 1024;
  static constexpr size_t kLastSize = 4 * 1024 * 1024;
  static constexpr size_t kOutgoingSize = 256 * 1024;
  static constexpr size_t kIncomingSize = 64 * 1024;
  static constexpr size_t kReadSize = 4096;
  static constexpr std::chrono::milliseconds kPace{2};
  static constexpr std::chrono::milliseconds kStall{1000};
  static constexpr std::chrono::milliseconds kInputRetry{500};

  bool lossy() const { return peer_.output < 0 || stalled_; }
  void on_loop(void (CharStream::*member)());
  void set_peer(CharPeer peer);
  // Output.
  size_t append(Bytes bytes, size_t limit);
  void drain();
  void take_pending();
  void format();
  bool send();
  void write_log();
  void output_failed(int error);
  void no_room(std::string_view of, int error);
  void on_stall();
  bool drained();
  // Input.
  void read_input();
  void deliver();

  EventLoop& loop_;
  std::unique_ptr<CharEndpoint> endpoint_;
  UniqueFd log_;
  CharPeer peer_;
  std::optional<FdWatch> readable_;
  std::optional<FdWatch> writable_;
  Stats stats_;

  std::mutex mutex_;  // guards the next three, which any thread uses
  std::vector<std::byte> pending_;
  bool refused_ = false;          // a write() was cut short: on_writable is owed
  bool drain_scheduled_ = false;  // drain() will run without being asked again

  std::vector<std::byte> taken_;  // bytes taken from pending_; formatted up to taken_done_
  size_t taken_done_ = 0;
  std::string formatted_;  // scratch of format()
  CharRing outgoing_{kOutgoingSize};
  std::function<void()> on_writable_;
  Receiver observer_;
  Receiver listener_;
  std::function<void(std::vector<std::byte>&)> output_filter_;
  bool timestamps_;
  bool at_line_start_ = true;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  Timer pace_;
  Timer stall_;
  bool progress_ = false;  // something was sent since the stall timer started
  bool stalled_ = false;
  uint64_t lost_ = 0;  // dropped since the peer was last told of
  bool no_room_told_ = false;

  CharRing incoming_{kIncomingSize};
  Timer input_retry_;
  std::function<size_t(Bytes)> on_input_;
  Filter filter_;
  std::function<void()> on_room_;
  std::atomic<bool> resume_posted_{false};

  // Callbacks queued in the loop may outlive the stream: they hold this weakly.
  std::shared_ptr<CharStream*> self_;
};

// A stream to what `config` names. Throws Error when the host refuses.
std::unique_ptr<CharStream> open_char_stream(EventLoop& loop, const CharConfig& config);

}  // namespace vmm
