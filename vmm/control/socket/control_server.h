// ControlServer: the control socket of a running machine, for as long as it runs. See control_verbs.h for the words.
//
// Its clients are programs of the same user, and are not trusted to be well behaved: there are kMaxClients at most, a
// line has kMaxLine bytes, a client that has not said anything in kPatience is gone, the next request is read when the
// answer to the last one has been taken, and who does not take events loses the connection. Who has asked for a console
// leaves to be there (devices/backends/char/char_visitors.h).
#pragma once

#include <chrono>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "vmm/control/socket/control_address.h"
#include "vmm/control/socket/control_verbs.h"
#include "vmm/core/event_loop.h"
#include "vmm/core/fd.h"

namespace vmm {

class ControlServer {
 public:
  static constexpr size_t kMaxClients = 16;
  static constexpr size_t kMaxLine = 4096;
  static constexpr size_t kMaxEvents = size_t{64} << 10;  // bytes of them that wait for one client
  static constexpr std::chrono::milliseconds kPatience{10'000};

  // Throws Error when it cannot listen there. All arguments outlive it.
  ControlServer(EventLoop& loop, const std::string& path, Controls& controls,
                std::chrono::milliseconds patience = kPatience);
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;
  ~ControlServer();

  // Tells those who asked for events.
  void announce(std::string_view event);

 private:
  struct Client {
    UniqueFd socket;
    std::string input;
    std::string output;
    bool wants_events = false;
    bool leaving = false;                // when it has taken its output
    std::optional<std::string> console;  // where it goes then
    // While an answer is on its way; who brings it holds this weakly.
    std::shared_ptr<std::list<Client>::iterator> answer_due;
    std::optional<FdWatch> readable;
    std::optional<FdWatch> writable;
    std::optional<Timer> deadline;
  };
  using Clients = std::list<Client>;

  void accept();
  void receive(Clients::iterator client);
  void serve(Clients::iterator client);
  bool take_line(Clients::iterator client);
  static bool send_some(Client& client);
  void hand_over(Clients::iterator client);
  void close(Clients::iterator client);

  EventLoop& loop_;
  Controls& controls_;
  const std::string path_;
  const std::chrono::milliseconds patience_;
  PathLock claim_;
  UniqueFd listener_;
  Clients clients_;
  FdWatch incoming_;
  Timer retry_;  // no descriptor was left for a client
};

}  // namespace vmm
