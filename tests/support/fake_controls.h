// FakeControls: a machine that only writes down what was asked of it.
#pragma once

#include <fmt/core.h>

#include <string>
#include <utility>

#include "vmm/control/socket/control_verbs.h"
#include "vmm/core/error.h"

namespace vmm::test {

struct FakeControls : Controls {
  Status status() const override {
    return {.name = "ci-3", .state = "running", .kernel = "bzImage", .cpus = 2, .memory = 1 << 30, .seconds = 1.5};
  }
  void pause() override { note("pause"); }
  void resume() override { note("resume"); }
  void reset() override { note("reset"); }
  void press_power_button() override { note("power button"); }
  void send_nmi() override { note("nmi"); }
  void send_sysrq(char key) override { note(std::string("sysrq ") + key); }
  void quit() override { note("quit"); }
  Findings look_inside() override { return findings; }
  void dump(const std::string& path, Done done) override {
    note("dump " + path);
    dumping = std::move(done);
  }

  void balloon(const BalloonRequest& request, TellBalloon tell) override {
    note("balloon" + (request.size ? fmt::format(" {}", *request.size) : "") + (request.hint ? " hint" : ""));
    telling = std::move(tell);
  }

  Console find_console(std::string_view name) const override {
    if (!name.empty() && name != "ttyS0") throw Error("there is no such console", "ttyS0");
    return {.name = "ttyS0", .where = "stdio", .visitors = 1};
  }
  void send_break(std::string_view console) override { note("break " + std::string(console)); }
  void admit(std::string_view console, UniqueFd client, std::string_view typed) override {
    note(fmt::format("{} {}", console, typed));
    admitted = std::move(client);
  }

  void note(const std::string& call) {
    if (refuses) throw Error("the guest has ended", "reset it");
    calls += call;
  }

  bool refuses = false;
  UniqueFd admitted;
  Done dumping;  // to be told how it went
  TellBalloon telling;
  std::string calls;
  Findings findings{.kernel = "Linux 6.1.0",
                    .log = {"one", "two \xff"},
                    .panic = Findings::Panic{"for a test", 1},
                    .cpus = {{0, false, "halted in default_idle"}}};
};

}  // namespace vmm::test
