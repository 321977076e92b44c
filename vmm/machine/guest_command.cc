// Streams, frames and the result; see guest_command.h.
#include "vmm/machine/guest_command.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <utility>

#include "firmware/guest/frames.h"

namespace vmm {

namespace {

// A terminal whose foreground is somebody else's must not be read: that would stop us.
bool may_read(int fd) { return ::isatty(fd) == 0 || ::tcgetpgrp(fd) == ::getpgrp(); }

std::string printable(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes) {
    const auto c = static_cast<unsigned char>(byte);
    text += std::isprint(c) != 0 ? static_cast<char>(c) : '?';
  }
  return text;
}

template <typename T>
void append(std::vector<std::byte>& to, const T& value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  to.insert(to.end(), bytes.begin(), bytes.end());
}

void append_text(std::vector<std::byte>& to, const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text.c_str(), text.size() + 1));  // with its NUL
  to.insert(to.end(), bytes.begin(), bytes.end());
}

}  // namespace

GuestCommand::Output::Output(GuestCommand& of, bool is_error, int fd)
    : owner(of),
      errors(is_error),
      stream(fd, O_WRONLY),
      writable(owner.loop_, stream.fd(), FdWatch::Event::kWritable, [this] {
        send();
        if (owner.on_writable_) owner.on_writable_();
        if (owner.on_drained_ && owner.drained()) std::exchange(owner.on_drained_, nullptr)();
      }) {}

size_t GuestCommand::Output::push(Bytes bytes, bool last) {
  if (broken != 0) return bytes.size();
  size_t taken = rest.empty() ? ring.push(bytes) : 0;
  if (last) {
    const Bytes more = bytes.subspan(taken, std::min(bytes.size() - taken, kLastSize - rest.size()));
    rest.insert(rest.end(), more.begin(), more.end());
    taken += more.size();
  }
  send();
  return taken;
}

void GuestCommand::Output::send() {
  while (broken == 0) {
    rest.erase(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(ring.push(rest)));
    if (ring.empty()) return;
    const auto part = ring.front();
    const ssize_t written = ::write(stream.fd(), part.data(), part.size());
    if (written >= 0) {
      ring.pop(static_cast<size_t>(written));
    } else if (errno == EAGAIN) {
      return writable.arm();
    } else if (errno != EINTR) {
      broken = errno;
      ring.pop(ring.size());
      rest.clear();
      tell_guest();
    }
  }
}

void GuestCommand::Output::tell_guest() const { owner.send(kCloseFrame, std::as_bytes(std::span(&errors, 1))); }

GuestCommand::GuestCommand(EventLoop& loop, const CommandConfig& config, const Streams& streams)
    : loop_(loop),
      config_(config),
      output_(*this, false, streams.output),
      errors_(*this, true, streams.errors),
      input_(streams.input, O_RDONLY),
      readable_(loop, input_.fd(), FdWatch::Event::kReadable, [this] { read_input(); }),
      self_(std::make_shared<GuestCommand*>(this)) {}

GuestCommand::~GuestCommand() = default;

void GuestCommand::begin(bool terminal, Filter filter, Events events) {
  terminal_ = terminal;
  filter_ = std::move(filter);
  events_ = std::move(events);
  watch_input();
}

void GuestCommand::restart() {
  frames_.reset();
  started_ = false;
  result_.reset();
  on_drained_ = nullptr;
  to_guest_.clear();
  early_.clear();
  credit_ = kInputWindow;
}

void GuestCommand::set_window_size(uint16_t columns, uint16_t rows) {
  columns_ = columns;
  rows_ = rows;
  const std::array<uint16_t, 2> size = {rows, columns};
  if (started_ && terminal_) send(kWindowFrame, std::as_bytes(std::span(size)));
}

// ---- from the guest

size_t GuestCommand::write(Bytes bytes) { return frames_.feed(bytes, *this); }

size_t GuestCommand::write_last(Bytes bytes) {
  last_ = true;
  const size_t taken = frames_.feed(bytes, *this);
  last_ = false;
  return taken;
}

size_t GuestCommand::on_output(bool is_error, Bytes bytes) {
  const size_t taken = (is_error ? errors_ : output_).push(bytes, last_);
  events_.on_output(is_error, bytes.first(taken));
  return taken;
}

void GuestCommand::on_control(char kind, Bytes payload) {
  switch (kind) {
    case kBeatFrame:
      // Its first sign of life: before, the port was not open in the guest, and a start would have been lost.
      if (!started_) start_command();
      break;
    case kTakenFrame: {
      uint32_t taken = 0;
      if (payload.size() < sizeof taken || !started_) break;
      std::memcpy(&taken, payload.data(), sizeof taken);
      // Whatever it says, it has not taken what is still here.
      credit_ = std::min(kInputWindow - std::min(kInputWindow, to_guest_.size()), credit_ + taken);
      watch_input();
      break;
    }
    case kExitFrame:
      if (!started_ || result_ || payload.size() < 2) break;
      result_ = Result{.how = payload[0] == std::byte{kExited}      ? Result::How::kExited
                              : payload[0] == std::byte{kSignalled} ? Result::How::kSignalled
                                                                    : Result::How::kNotStarted,
                       .value = static_cast<int>(payload[1]),
                       .why = printable(payload.subspan(2))};
      events_.on_result(*result_);
      break;
    default:  // kRunningFrame, and what later versions of the guest's side may add
      break;
  }
}

void GuestCommand::start_command() {
  started_ = true;
  std::vector<std::byte> payload;
  append(payload, rows_);
  append(payload, columns_);
  // What its standard error is sent to here, if that is no terminal, is to get it alone.
  const bool errors_apart = terminal_ && ::isatty(errors_.stream.fd()) == 0;
  append(payload, static_cast<uint8_t>((terminal_ ? kTerminal : 0) | (errors_apart ? kErrorsApart : 0)));
  append(payload, static_cast<uint32_t>(config_.words.size()));
  append_text(payload, config_.directory);
  for (const std::string& word : config_.words) append_text(payload, word);
  for (const std::string& variable : config_.environment) append_text(payload, variable);
  send(kStartFrame, payload);
  for (const Output* output : {&output_, &errors_}) {
    if (output->broken != 0) output->tell_guest();  // since an earlier boot
  }
  if (!early_.empty()) send(kInputFrame, std::exchange(early_, {}));
  if (!may_read(input_.fd())) input_ended_ = true;
  if (input_ended_) send(kInputFrame, {});
  watch_input();
  events_.on_started();
}

// ---- to the guest

// Before the command runs, only a terminal is read: there may be keys for us among what is typed.
void GuestCommand::watch_input() {
  const bool wanted = started_ || filter_ != nullptr;
  if (wanted && !input_ended_ && credit_ > 0) readable_.arm();
}

void GuestCommand::read_input() {
  std::array<std::byte, kReadSize> part;
  const ssize_t got = ::read(input_.fd(), part.data(), std::min(part.size(), credit_));
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return watch_input();
  if (got <= 0) {
    input_ended_ = true;
    if (started_) send(kInputFrame, {});
    return;
  }
  const auto to_guest = [this](Bytes bytes) {
    credit_ -= std::min(credit_, bytes.size());
    if (bytes.empty()) return;
    if (started_) return send(kInputFrame, bytes);
    early_.insert(early_.end(), bytes.begin(), bytes.end());
  };
  const Bytes arrived = std::span(part).first(static_cast<size_t>(got));
  filter_ ? filter_(arrived, to_guest) : to_guest(arrived);
  watch_input();
}

void GuestCommand::send(char kind, Bytes payload) {
  const auto frame = CommandFrames::frame(kind, payload);
  to_guest_.insert(to_guest_.end(), frame.begin(), frame.end());
  deliver();
}

void GuestCommand::deliver() {
  if (!on_input_ || to_guest_.empty()) return;
  const size_t taken = on_input_(to_guest_);
  to_guest_.erase(to_guest_.begin(), to_guest_.begin() + static_cast<std::ptrdiff_t>(taken));
}

void GuestCommand::set_input(std::function<size_t(Bytes)> on_input) {
  on_input_ = std::move(on_input);
  deliver();
}

void GuestCommand::resume_input() {
  loop_.post([weak = std::weak_ptr(self_)] {
    if (const auto self = weak.lock()) (*self)->deliver();
  });
}

int GuestCommand::output_lost() const {
  for (const Output* output : {&output_, &errors_}) {
    if (output->broken != 0 && output->broken != EPIPE) return output->broken;
  }
  return 0;
}

void GuestCommand::when_drained(std::function<void()> on_drained) {
  on_writable_ = nullptr;
  if (drained()) return on_drained();
  on_drained_ = std::move(on_drained);
}

}  // namespace vmm
