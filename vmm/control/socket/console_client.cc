// The client of a console: terminal to socket and back, with its keys; see console_client.h.
#include "vmm/control/socket/console_client.h"

#include <fmt/core.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "devices/backends/char/char_stream.h"
#include "vmm/control/cli/banner.h"
#include "vmm/control/session/escape_keys.h"
#include "vmm/control/session/terminal.h"
#include "vmm/control/socket/control_link.h"
#include "vmm/core/error.h"
#include "vmm/core/event_loop.h"
#include "vmm/core/fd.h"
#include "vmm/core/log.h"
#include "vmm/core/signals.h"
#include "vmm/machine/outcome.h"

namespace vmm {

namespace {

constexpr std::chrono::milliseconds kDrainLimit{1000};
constexpr size_t kReadSize = 16384;

class Visit {
 public:
  Visit(const ControlRequest& request, ControlLink link, EscapeKeys keys)
      : request_(request),
        keys_(keys),
        signals_(open_signals({SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGCONT})),
        stdio_(open_char_stream(loop_, CharConfig{})),
        console_(link.ask({{"do", "console"}, {"name", request.console}})),
        socket_(link.take_socket()),
        terminal_(true),
        signal_watch_(loop_, signals_.get(), FdWatch::Event::kReadable, [this] { on_signal(); }),
        readable_(loop_, socket_.get(), FdWatch::Event::kReadable, [this] { receive(); }),
        writable_(loop_, socket_.get(), FdWatch::Event::kWritable, [this] { stdio_->resume_input(); }) {}

  int run() {
    greet();
    if (terminal_.raw()) stdio_->set_filter(key_filter());
    stdio_->set_input([this](CharStream::Bytes typed) { return send(typed); });
    stdio_->set_on_writable([this] { pass_on(); });
    signal_watch_.arm();
    readable_.arm();
    loop_.run();
    stdio_->flush(kDrainLimit);
    terminal_.restore();
    log_info("{}", farewell_);
    return status_;
  }

 private:
  void greet() const {
    const auto others = console_.value("visitors", 0u);
    log_info("at {} of '{}', whose own end is {}{}{}", console_.value("name", "?"), request_.name,
             console_.value("where", "?"), others == 0 ? "" : fmt::format("; {} more there", others),
             terminal_.raw() && !keys_.name().empty()
                 ? fmt::format(" - press {0} h for help, {0} x to leave", keys_.name())
                 : "");
  }

  void leave(int status, const std::string& farewell) {
    status_ = status;
    farewell_ = farewell;
    loop_.stop();
  }

  // ---- from the machine

  void receive() {
    arrived_.resize(kReadSize);
    const ssize_t length = ::recv(socket_.get(), arrived_.data(), arrived_.size(), MSG_DONTWAIT);
    arrived_.resize(static_cast<size_t>(std::max<ssize_t>(length, 0)));
    if (length < 0 && (errno == EAGAIN || errno == EINTR)) return readable_.arm();
    if (length <= 0) return leave(exit_code::kClean, fmt::format("the machine '{}' has ended", request_.name));
    pass_on();
  }

  // What is not taken is offered again when there is room.
  void pass_on() {
    const size_t taken = stdio_->write(arrived_);
    arrived_.erase(arrived_.begin(), arrived_.begin() + static_cast<std::ptrdiff_t>(taken));
    if (arrived_.empty()) readable_.arm();
  }

  // ---- to the machine

  size_t send(CharStream::Bytes typed) {
    const ssize_t length = ::send(socket_.get(), typed.data(), typed.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (length == std::ssize(typed)) return typed.size();
    if (length < 0 && errno != EAGAIN && errno != EINTR) return typed.size();  // it is gone, which receive() sees
    writable_.arm();
    return static_cast<size_t>(std::max<ssize_t>(length, 0));
  }

  CharStream::Filter key_filter() {
    return [this](CharStream::Bytes typed, const CharStream::Receiver& to_guest) {
      keys_.feed(typed, {.to_guest = to_guest,
                         .command = [this](EscapeKeys::Command command) { obey(command); },
                         .unknown =
                             [this](char letter) {
                               log_info("{} {} means nothing here; {} h lists the keys", keys_.name(),
                                        letter >= ' ' && letter <= '~' ? letter : '?', keys_.name());
                             }});
    };
  }

  void obey(EscapeKeys::Command command) {
    using Command = EscapeKeys::Command;
    switch (command) {
      case Command::kHelp:
        log_info("keys:");
        return print_lines(keys_.help());
      case Command::kBreak:
        return tell("break");
      case Command::kWhy:
        return tell("why");
      case Command::kLog:
        return tell("dmesg");
      case Command::kPause:
        return tell(is_paused() ? "resume" : "pause");
      case Command::kReset:
        return tell("reset");
      case Command::kNmi:
        return tell("nmi");
      default:
        return leave(exit_code::kClean, fmt::format("left the console; the machine '{}' runs on", request_.name));
    }
  }

  // Over a connection of its own, as this one is the console's.
  void tell(const std::string& verb) const {
    try {
      const bool has_console = verb == "break";
      log_text(ask(
          {.verb = verb, .name = request_.name, .console = has_console ? console_.value("name", "") : std::string()}));
    } catch (const Error& error) {
      log_error("{}", error.what());
    }
  }

  bool is_paused() const {
    try {
      const auto link = ControlLink::to(request_.name);
      return link && link->ask({{"do", "status"}}).value("state", "") == "paused";
    } catch (const Error&) {
      return false;  // which pause will tell more of
    }
  }

  void on_signal() {
    signalfd_siginfo info{};
    while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
      if (info.ssi_signo == SIGCONT) {
        terminal_.enter_raw_mode();
      } else {
        const bool quit = info.ssi_signo == SIGINT || info.ssi_signo == SIGQUIT;
        leave(quit ? exit_code::kQuit : exit_code::kTerminated, "left the console");
      }
    }
    signal_watch_.arm();
  }

  const ControlRequest& request_;
  EscapeKeys keys_;
  EventLoop loop_;
  UniqueFd signals_;  // blocked before the terminal is changed, so that none comes between
  std::unique_ptr<CharStream> stdio_;
  nlohmann::json console_;
  UniqueFd socket_;
  Terminal terminal_;
  FdWatch signal_watch_, readable_, writable_;
  std::vector<std::byte> arrived_;  // and not taken yet
  int status_ = exit_code::kClean;
  std::string farewell_;
};

}  // namespace

int visit_console(const ControlRequest& request) {
  const EscapeKeys keys = EscapeKeys::parse(request.escape, EscapeKeys::Place::kVisit);
  std::optional<ControlLink> link = ControlLink::to(request.name);
  if (!link) throw not_running(request.name);
  return Visit(request, std::move(*link), keys).run();
}

}  // namespace vmm
