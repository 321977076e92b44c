// Requests of the control socket, and what is answered.
#include "vmm/control/socket/control_verbs.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "tests/support/fake_controls.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

nlohmann::json ask(Controls& controls, std::string_view request) {
  return nlohmann::json::parse(answer(controls, request, nullptr).value());
}

}  // namespace

TEST_CASE("control: each request does what it says", "[control]") {
  const auto [request, call] = GENERATE(table<std::string, std::string>({{R"({"do": "pause"})", "pause"},
                                                                         {R"({"do": "resume"})", "resume"},
                                                                         {R"({"do": "reset"})", "reset"},
                                                                         {R"({"do": "poweroff"})", "power button"},
                                                                         {R"({"do": "nmi"})", "nmi"},
                                                                         {R"({"do": "kill"})", "quit"},
                                                                         {R"({"do": "sysrq", "key": "t"})", "sysrq t"},
                                                                         {R"({"do": "events"})", ""}}));
  FakeControls controls;
  CHECK(ask(controls, request) == nlohmann::json({{"ok", true}}));
  CHECK(controls.calls == call);
}

TEST_CASE("control: status tells what runs, and how", "[control]") {
  FakeControls controls;
  const auto status = ask(controls, R"({"do": "status"})");
  CHECK(status["ok"] == true);
  CHECK(status["name"] == "ci-3");
  CHECK(status["state"] == "running");
  CHECK(status["memory"] == 1 << 30);
  CHECK(status["pid"].is_number());
}

TEST_CASE("control: why tells the vCPUs, dmesg the log", "[control]") {
  FakeControls controls;
  const auto why = ask(controls, R"({"do": "why"})");
  CHECK(why["kernel"] == "Linux 6.1.0");
  CHECK(why["panic"] == "for a test");
  CHECK(why["vcpus"][0]["doing"] == "halted in default_idle");
  const auto log = ask(controls, R"({"do": "dmesg"})");
  CHECK(log["log"] == std::vector<std::string>{"one", "two \xef\xbf\xbd"});
  controls.findings = {.troubles = {"no VMCOREINFO"}};
  CHECK(ask(controls, R"({"do": "why"})")["kernel"].is_null());
  const auto none = ask(controls, R"({"do": "dmesg"})");
  CHECK(none["ok"] == false);
  CHECK(none["fix"] == "no VMCOREINFO");
}

TEST_CASE("control: what cannot be done is answered with why, and a fix", "[control]") {
  FakeControls controls;
  controls.refuses = true;
  const auto refused = ask(controls, R"({"do": "pause"})");
  CHECK(refused["ok"] == false);
  CHECK(refused["error"] == "the guest has ended");
  CHECK(refused["fix"] == "reset it");
}

TEST_CASE("control: what is no request is answered so, whatever it is", "[control]") {
  const std::string request = GENERATE(
      as<std::string>(), "", "pause", "{", "[]", "null", "7", "\"do\"", R"({"do": 7})", R"({"do": "fly"})",
      R"({"Do": "pause"})", R"({"do": "sysrq"})", R"({"do": "sysrq", "key": 7})", R"({"do": "sysrq", "key": "tt"})",
      R"({"do": "sysrq", "key": ""})", "\xff\xfe", std::string(4096, '['), std::string("\0{}", 3));
  FakeControls controls;
  const auto refused = ask(controls, request);
  CHECK(refused["ok"] == false);
  CHECK(refused["error"].is_string());
  CHECK(controls.calls.empty());
}

TEST_CASE("control: events are a line each", "[control]") {
  CHECK(asks_for_events(R"({"do": "events"})"));
  CHECK_FALSE(asks_for_events(R"({"do": "status"})"));
  CHECK_FALSE(asks_for_events("events"));
  CHECK(event_line("ended: panic") == R"({"event":"ended: panic"})");
}

TEST_CASE("control: a dump is answered when it is written, or not written", "[control]") {
  FakeControls controls;
  std::string later;
  const auto dump = [&](const std::string& request) {
    return answer(controls, request, [&later](const std::string& text) { later = text; });
  };
  CHECK_FALSE(dump(R"({"do": "dump", "file": "/tmp/core"})"));
  CHECK(controls.calls == "dump /tmp/core");
  CHECK(later.empty());
  controls.dumping(std::nullopt);
  CHECK(later == R"({"ok":true})");
  CHECK_FALSE(dump(R"({"do": "dump", "file": "/full/core"})"));
  controls.dumping(Error("no room", "make some"));
  CHECK_THAT(later, Contains("no room") && Contains("make some") && Contains("false"));

  CHECK_THAT(dump(R"({"do": "dump", "file": "core"})").value(), Contains("whole path"));
  CHECK_THAT(dump(R"({"do": "dump"})").value(), Contains("whole path"));
  controls.refuses = true;
  CHECK_THAT(dump(R"({"do": "dump", "file": "/tmp/core"})").value(), Contains("has ended"));
}

TEST_CASE("control: the balloon's size is asked for, or only told, and what the guest says comes later", "[control]") {
  FakeControls controls;
  std::string later;
  const auto ask = [&](const std::string& request) {
    return answer(controls, request, [&later](const std::string& text) { later = text; });
  };
  CHECK_FALSE(ask(R"({"do": "balloon", "size": 4096})"));
  CHECK(controls.calls == "balloon 4096");
  CHECK(later.empty());
  controls.telling({.target = 4096, .actual = 0, .given_back = 7, .guest = {{"free-memory", 8}}, .age = 0.5});
  CHECK(nlohmann::json::parse(later) == nlohmann::json({{"ok", true},
                                                        {"target", 4096},
                                                        {"actual", 0},
                                                        {"given_back", 7},
                                                        {"guest", {{"free-memory", 8}}},
                                                        {"age", 0.5}}));
  CHECK_FALSE(ask(R"({"do": "balloon"})"));
  CHECK(controls.calls == "balloon 4096balloon");
  controls.telling({});
  CHECK(nlohmann::json::parse(later)["age"].is_null());
  CHECK_FALSE(nlohmann::json::parse(later).contains("hinted"));

  for (const auto* const size : {"-1", "1.5", "\"1M\"", "null"}) {
    CHECK_THAT(ask(fmt::format(R"({{"do": "balloon", "size": {}}})", size)).value(), Contains("a number of bytes"));
  }
  controls.refuses = true;
  CHECK_THAT(ask(R"({"do": "balloon"})").value(), Contains("has ended"));
}

TEST_CASE("control: a guest that is asked what is free says how much, and whether that is all", "[control]") {
  FakeControls controls;
  std::string later;
  const auto ask = [&](const std::string& request) {
    return answer(controls, request, [&later](const std::string& text) { later = text; });
  };
  CHECK_FALSE(ask(R"({"do": "balloon", "hint": true})"));
  CHECK(controls.calls == "balloon hint");
  const bool all = GENERATE(true, false);
  controls.telling({.hinted = 8192, .hinted_all = all});
  CHECK(nlohmann::json::parse(later)["hinted"] == 8192);
  CHECK(nlohmann::json::parse(later)["hinted_all"] == all);
  CHECK_FALSE(ask(R"({"do": "balloon", "hint": false, "size": 1})"));
  CHECK(controls.calls == "balloon hintballoon 1");
  for (const auto* const hint : {"1", "\"yes\"", "null"}) {
    CHECK_THAT(ask(fmt::format(R"({{"do": "balloon", "hint": {}}})", hint)).value(), Contains("true or false"));
  }
}
