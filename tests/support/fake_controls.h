// FakeControls: a machine that only writes down what was asked of it.
#pragma once

#include <string>

#include "vmm/control/control_verbs.h"
#include "vmm/core/error.h"

namespace vmm::test {

struct FakeControls : Controls {
  Status status() const override {
    return {.name = "ci-3", .state = "running", .kernel = "bzImage", .cpus = 2, .memory = 1 << 30, .seconds = 1.5};
  }
  void pause() override { note("pause"); }
  void resume() override { note("resume"); }
  void reset() override { note("reset"); }
  void send_nmi() override { note("nmi"); }
  void send_sysrq(char key) override { note(std::string("sysrq ") + key); }
  void quit() override { note("quit"); }
  Findings look_inside() override { return findings; }
  void dump(const std::string& path, Done done) override {
    note("dump " + path);
    dumping = std::move(done);
  }

  void note(const std::string& call) {
    if (refuses) throw Error("the guest has ended", "reset it");
    calls += call;
  }

  bool refuses = false;
  Done dumping;  // to be told how it went
  std::string calls;
  Findings findings{.kernel = "Linux 6.1.0",
                    .log = {"one", "two \xff"},
                    .panic = Findings::Panic{"for a test", 1},
                    .cpus = {{0, false, "halted in default_idle"}}};
};

}  // namespace vmm::test
