// GuestCommand: a command that runs in the guest with our standard streams: the host's side of `vmm ... -- CMD`.
//
// It is the backend of the virtio-console port "vmm.command", at whose other end vmm's own init (firmware/guest) runs
// the command; firmware/guest/frames.h describes the frames between the two. Standard output, standard error and the
// result travel there and never on a console, so nothing that a guest prints can be taken for them.
//
// Nothing is lost and nothing grows: output that our own reader does not take stays in the guest, and input is read
// only as far as the command takes it (kInputWindow).
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "devices/backends/char/char_backend.h"
#include "devices/backends/char/char_ring.h"
#include "devices/backends/char/standard_stream.h"
#include "vmm/core/event_loop.h"
#include "vmm/machine/command_frames.h"
#include "vmm/machine/config.h"

namespace vmm {

class GuestCommand : public CharBackend, private CommandFrames::Sink {
 public:
  using Bytes = std::span<const std::byte>;
  static constexpr const char* kPortName = "vmm.command";

  struct Result {
    enum class How { kExited, kSignalled, kNotStarted };
    How how = How::kExited;
    int value = 0;    // its status, its signal, or 126 (not executable) and 127 (not found)
    std::string why;  // kNotStarted only; nothing but printable characters
  };

  struct Streams {
    int input = STDIN_FILENO;
    int output = STDOUT_FILENO;
    int errors = STDERR_FILENO;
  };

  // Throws Error when one of them is closed.
  GuestCommand(EventLoop& loop, const CommandConfig& config, const Streams& streams);
  GuestCommand(const GuestCommand&) = delete;
  GuestCommand& operator=(const GuestCommand&) = delete;
  ~GuestCommand() override;

  // ---- for its user; loop thread

  // Sees what is typed and passes on what is meant for the command; null: all of it is. With one, input is read from
  // now on, and not only once there is a command.
  using Filter = std::function<void(Bytes typed, const std::function<void(Bytes)>& to_guest)>;
  struct Events {
    std::function<void()> on_started;  // the guest is up and was told what to run; once per boot
    // Called with what was taken of something that the command has written to standard error or standard output.
    std::function<void(bool is_error, Bytes taken)> on_output;
    std::function<void(const Result&)> on_result;  // once per boot at most
  };
  // `terminal`: the command gets one, in place of three pipes; standard error keeps its pipe where ours is no terminal.
  void begin(bool terminal, Filter filter, Events events);
  // A new boot: the command will be started again.
  void restart();
  void set_window_size(uint16_t columns, uint16_t rows);
  bool started() const { return started_; }
  const std::optional<Result>& result() const { return result_; }
  // The errno by which output of the command could not be written and is lost; 0 when none is. A reader that went away
  // is no error.
  int output_lost() const;
  // True when no output waits for its reader.
  bool drained() const { return output_.empty() && errors_.empty(); }
  // Calls `on_drained` once drained() is true, unless there is a new boot. For the end, when the device has stopped.
  void when_drained(std::function<void()> on_drained);

  // ---- CharBackend: the port

  size_t write(Bytes bytes) override;
  size_t write_last(Bytes bytes) override;
  void set_on_writable(std::function<void()> on_writable) override { on_writable_ = std::move(on_writable); }
  void set_input(std::function<size_t(Bytes)> on_input) override;
  void resume_input() override;

 private:
  static constexpr size_t kInputWindow = size_t{256} * 1024;  // bytes under way to the command
  static constexpr size_t kOutputSize = size_t{64} * 1024;
  static constexpr size_t kLastSize = size_t{4} << 20;
  static constexpr size_t kReadSize = 4096;

  // Standard output, or standard error.
  struct Output {
    Output(GuestCommand& of, bool is_error, int fd);
    size_t push(Bytes bytes, bool last);
    void send();              // as much as is taken now
    void tell_guest() const;  // tells the guest that nobody reads this output
    bool empty() const { return ring.empty() && rest.empty(); }
    GuestCommand& owner;
    const bool errors;
    StandardStream stream;
    CharRing ring{kOutputSize};
    std::vector<std::byte> rest;  // what came when the device was stopping, behind the ring
    FdWatch writable;
    int broken = 0;  // errno: nobody will ever read it, what comes is thrown away; 0: it is read
  };

  size_t on_output(bool is_error, Bytes bytes) override;
  void on_control(char kind, Bytes payload) override;
  void start_command();
  void read_input();
  void send(char kind, Bytes payload);
  void deliver();
  void watch_input();

  EventLoop& loop_;
  const CommandConfig config_;
  bool terminal_ = false;
  Filter filter_;
  Events events_;
  uint16_t columns_ = 0;
  uint16_t rows_ = 0;

  CommandFrames frames_;
  bool last_ = false;  // within write_last()
  bool started_ = false;
  std::optional<Result> result_;
  Output output_;
  Output errors_;
  std::function<void()> on_writable_;
  std::function<void()> on_drained_;

  StandardStream input_;
  FdWatch readable_;
  bool input_ended_ = false;
  size_t credit_ = kInputWindow;
  std::vector<std::byte> early_;     // typed before there was a command
  std::vector<std::byte> to_guest_;  // frames
  std::function<size_t(Bytes)> on_input_;
  // Callbacks queued in the loop may outlive the command: they hold this weakly.
  std::shared_ptr<GuestCommand*> self_;
};

}  // namespace vmm
