// A running machine steered from outside: `vmm VERB NAME`.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "tests/support/descriptors.h"
#include "tests/support/payload.h"
#include "tests/support/temp_file.h"
#include "tests/support/test_vm.h"

using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

// What another vmm says to these words, when it succeeds.
std::string say(const std::vector<std::string>& words) {
  TestVm client(words);
  CHECK(client.wait_exit() == 0);
  return client.output();
}

std::string refusal(const std::vector<std::string>& words) {
  TestVm client(words);
  CHECK(client.wait_exit() == 125);
  return client.messages();
}

}  // namespace

TEST_CASE("control: a machine is found by its name, told of, paused, resumed and ended", "[payload][control]") {
  TestVm vm(payload("case=spin", {"--name", "payload-test", "--hang-timeout", "none"}));
  vm.wait_for("payload: spinning\n");
  CHECK_THAT(say({"list"}), Contains("payload-test") && Contains("running") && Contains("1 vCPU"));
  CHECK_THAT(say({"stats", "payload-test"}), Contains("state    running") && Contains("exits"));
  CHECK(say({"pause", "payload-test"}).empty());
  CHECK_THAT(say({"stats", "payload-test"}), Contains("state    paused"));
  CHECK(say({"resume", "payload-test"}).empty());
  CHECK_THAT(say({"why", "payload-test"}),
             Contains("no kernel that is understood") && Contains("vCPU 0: in user space"));
  CHECK_THAT(refusal({"dmesg", "payload-test"}), Contains("no kernel log was found") && Contains("no VMCOREINFO"));
  CHECK_THAT(refusal(payload("case=spin", {"--name", "payload-test"})), Contains("a machine of this name is running"));
  CHECK(say({"kill", "payload-test"}).empty());
  CHECK(vm.wait_exit() == 130);
  CHECK_THAT(refusal({"stats", "payload-test"}), Contains("no machine 'payload-test' is running"));
}

TEST_CASE("control: a machine that was killed leaves a socket that hinders nobody", "[payload][control]") {
  const TempDirectory folder;
  TestVm first(payload("case=spin", {"--ctl", folder("s")}));
  first.wait_for("payload: spinning\n");
  first.signal(SIGKILL);
  CHECK(first.wait_exit() == 128 + SIGKILL);
  TestVm second(payload("case=spin", {"--ctl", folder("s")}));
  second.wait_for("payload: spinning\n");
  CHECK_THAT(say({"stats", folder("s")}), Contains("running"));
  CHECK(say({"reset", folder("s")}).empty());
  second.wait_for("payload: spinning\n");
}

TEST_CASE("control: a reset begins a boot anew, and neither time nor the count of exits", "[payload][control]") {
  const TempDirectory folder;
  const auto result = [&folder] { return nlohmann::json::parse(contents(folder("r.json"))); };
  const auto spinning =
      payload("case=spin", {"--ctl", folder("s"), "--result", folder("r.json"), "--hang-timeout", "none"});
  TestVm once(spinning);
  once.wait_for("payload: spinning\n");
  once.signal(SIGTERM);
  CHECK(once.wait_exit() == 143);
  const auto exits = result()["exits"]["vmm"].get<uint64_t>();

  TestVm twice(spinning);
  twice.wait_for("payload: spinning\n");
  twice.settle(std::chrono::seconds(3));
  CHECK(say({"reset", folder("s")}).empty());
  twice.wait_for("payload: spinning\n");
  twice.signal(SIGTERM);
  CHECK(twice.wait_exit() == 143);
  CHECK(result()["t"].get<double>() >= 3);
  CHECK(result()["exits"]["vmm"].get<uint64_t>() > exits * 3 / 2);
}
