// What may be asked of a running machine over its control socket, as lines of JSON: one request, one answer.
//
//   {"do": "pause"}                 {"ok": true}
//   {"do": "sysrq", "key": "t"}     {"ok": true}
//   {"do": "dmesg"}                 {"ok": true, "kernel": "Linux 6.1.0", "log": ["[    0.000000] ...", ...]}
//   {"do": "dump", "file": "/f"}    {"ok": true}, when it is written
//   {"do": "balloon", "size": 0}    {"ok": true, "target": 0, "actual": 1048576, "guest": {"free-memory": ...}, ...}
//   {"do": "balloon", "hint": true} {"ok": true, "hinted": 67108864, "hinted_all": true, "target": 0, ...}
//   {"do": "fly"}                   {"ok": false, "error": "there is no request 'fly'", "fix": "status, pause, ..."}
//
// "console" (with the "name" of one, "ttyS0" or "hvc0", or without) is answered with which one it is; from then on the
// connection is that console, byte by byte, and no more requests are read. "events" makes a client hear of what happens
// from then on, each a line such as {"event": "paused"}: the server does both (control_server.h).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vmm/control/verdict/findings.h"
#include "vmm/core/error.h"
#include "vmm/core/fd.h"

namespace vmm {

// A machine as others steer it. All calls are made on the loop's thread; those that cannot be done throw Error.
class Controls {
 public:
  struct Status {
    std::string name;
    std::string state;  // "running", "paused", "ended" (and waits for a reset), "ending"
    std::string kernel;
    unsigned cpus = 0;
    uint64_t memory = 0;  // bytes
    double seconds = 0;   // since power-on
    uint64_t exits = 0;
  };

  struct Console {
    std::string name;     // "ttyS0", "hvc0"
    std::string where;    // the host's end that it was opened with: "stdio"
    size_t visitors = 0;  // who have come to it besides
  };

  struct BalloonRequest {
    std::optional<uint64_t> size;  // in bytes; none: it stays as it is
    bool hint = false;             // the guest is asked what is free, which the host takes first then when it is short
  };
  // All in bytes but what the guest's driver counts.
  struct Balloon {
    uint64_t target = 0;      // what the guest is to do without
    uint64_t actual = 0;      // what it says that it does without
    uint64_t given_back = 0;  // to the host, over all: pages that came into the balloon, and free ones
    std::vector<std::pair<std::string, uint64_t>> guest;  // by Linux's names; empty when its driver does not tell
    std::optional<double> age;                            // age of what the guest said, in seconds
    std::optional<uint64_t> hinted;                       // where it was asked what is free
    bool hinted_all = false;                              // false when the guest did not come to an end with its hints
  };
  using TellBalloon = std::function<void(const Balloon&)>;

  // Hears, once, on the loop, what went wrong, or nothing.
  using Done = std::function<void(const std::optional<Error>&)>;

  virtual ~Controls() = default;
  virtual Status status() const = 0;
  virtual void pause() = 0;
  virtual void resume() = 0;
  virtual void reset() = 0;
  virtual void press_power_button() = 0;
  virtual void send_nmi() = 0;
  virtual void send_sysrq(char key) = 0;
  virtual void quit() = 0;
  virtual Findings look_inside() = 0;
  // Writes a vmcore. The machine stands still meanwhile.
  virtual void dump(const std::string& path, Done done) = 0;
  // Asks the guest's balloon, and calls `tell` once with what came of it: later, for hints after seconds.
  virtual void balloon(const BalloonRequest& request, TellBalloon tell) = 0;
  // The console of this name; for an empty one the first whose output goes anywhere, else the first.
  virtual Console find_console(std::string_view name) const = 0;
  // Sends a BREAK on that console's line.
  virtual void send_break(std::string_view console) = 0;
  // Lets a client be at that console, which find_console() has just found, from now on. `typed`: what it typed already.
  virtual void admit(std::string_view console, UniqueFd client, std::string_view typed) = 0;
};

// The answer to one request, without its newline. Nothing when it takes longer: `later` is called with it then, on the
// loop. Whatever the line is, it does not throw.
std::optional<std::string> answer(Controls& controls, std::string_view request, std::function<void(std::string)> later);

// The answer to "why" or "dmesg" from what was found elsewhere than in a running machine, without its newline.
std::string answer_from(const Findings& findings, std::string_view name);

// An answer that says why not.
std::string refusal(const std::string& what, const std::string& fix = {});

// Whether the request is for events. Those are answered as others are.
bool asks_for_events(std::string_view request);

// The answer to a request for a console; empty when it is not answered with one.
struct ConsoleAnswer {
  std::string text;
  std::optional<std::string> console;
};
std::optional<ConsoleAnswer> answer_console(const Controls& controls, std::string_view request);

// {"event": "paused"}, without its newline.
std::string event_line(std::string_view event);

}  // namespace vmm
