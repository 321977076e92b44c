// Verdicts on guests that end well or badly, and what is written down about them.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "tests/support/descriptors.h"
#include "tests/support/guests.h"
#include "tests/support/temp_file.h"

using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

Words in_shell(const Words& flags, const std::string& script) {
  return small_kernel() + Words{"--disk", tiny_disk() + ",ephemeral"} + flags + Words{"--", "sh", "-c", script};
}
// At a level that a quiet kernel keeps to itself.
const std::string kOffence = "echo 'BUG: KASAN: use-after-free in a_test' >/dev/kmsg";

}  // namespace

TEST_CASE("verdict: a kernel message that no console showed fails a command that passed", "[boot][verdict]") {
  TestVm vm(in_shell({}, kOffence));
  CHECK(vm.wait_exit() == 97);
  CHECK_THAT(vm.messages(), Contains("vmm: kasan in the kernel's log: ") && Contains("use-after-free in a_test"));
  CHECK_THAT(vm.messages(), !Contains("vCPU"));
}

TEST_CASE("verdict: what is excused or not asked for fails nothing", "[boot][verdict]") {
  TestVm none(in_shell({"--fail-on", "none"}, kOffence));
  CHECK(none.wait_exit() == 0);
  const TempDirectory folder;
  TestVm allowed(in_shell({"--allow", folder.file("allow", "in a_test$\n")}, kOffence));
  CHECK(allowed.wait_exit() == 0);
}

TEST_CASE("verdict: a command's own failure stays what it is", "[boot][verdict]") {
  TestVm vm(in_shell({}, kOffence + "; exit 5"));
  CHECK(vm.wait_exit() == 5);
}

TEST_CASE("verdict: the tests that a kernel reports by itself decide, though no console shows them",
          "[boot][verdict]") {
  const TempDirectory folder;
  TestVm vm(in_shell({"--fail-on", "ktap", "--result", folder("r.json")},
                     "for line in 'KTAP version 1' 1..2 '  1..1' '  ok 1 inner' 'ok 1 outer' 'not ok 2 other'; do "
                     "echo \"$line\" >/dev/kmsg; done"));
  CHECK(vm.wait_exit() == 97);
  CHECK_THAT(vm.messages(), Contains("vmm: by the guest's KTAP: 1 of 3 failed, the first is other"));
  const auto json = nlohmann::json::parse(contents(folder("r.json")));
  REQUIRE(json["cases"].size() == 3);
  CHECK(json["cases"][0]["name"] == "outer/inner");
  CHECK(json["cases"][2]["status"] == "fail");
}

TEST_CASE("verdict: a panic is told by console and memory alike, and written down", "[boot][verdict]") {
  const TempDirectory folder;
  TestVm vm(in_shell({"--result", folder("r.json"), "--junit", folder("r.xml")}, "echo c >/proc/sysrq-trigger"));
  CHECK(vm.wait_exit() == 96);
  const auto json = nlohmann::json::parse(contents(folder("r.json")));
  CHECK(json["verdict"] == "panic");
  CHECK(json["exit"] == 96);
  CHECK(json["detectors"]["console"] == "panic: sysrq triggered crash");
  CHECK(json["detectors"]["memory"] == "panic: sysrq triggered crash");
  CHECK_FALSE(json.contains("disagreement"));
  CHECK_THAT(json["vcpus"][0]["doing"].get<std::string>(), Contains("sysrq_handle_crash"));
  CHECK_THAT(json["vcpus"][0]["rip"].get<std::string>(), Contains("+0x"));
  CHECK_THAT(json["vcpus"][0]["stack"].dump(), Contains("panic") && Contains("sysrq_handle_crash"));
  CHECK_THAT(json["kaslr"].get<std::string>(), Contains("0x"));
  CHECK_THAT(json["last_log"].dump(), Contains("Kernel panic - not syncing"));
  CHECK_THAT(contents(folder("r.xml")), Contains("failures=\"1\"") && Contains("sysrq triggered crash"));
}

TEST_CASE("verdict: a pass is written down, and so is a machine that could not start", "[boot][verdict]") {
  const TempDirectory folder;
  TestVm good(in_shell({"--result", folder("good.json")}, "exit 0"));
  CHECK(good.wait_exit() == 0);
  CHECK(nlohmann::json::parse(contents(folder("good.json")))["verdict"] == "pass");
  TestVm bad({"--kernel", image("KERNEL", "bzImage"), "--disk", folder("missing"), "--result", folder("bad.json")});
  CHECK(bad.wait_exit() == 125);
  CHECK(nlohmann::json::parse(contents(folder("bad.json")))["verdict"] == "error");
}

TEST_CASE("verdict: a panic that is only printed is no panic, and the difference is told", "[boot][verdict]") {
  const TempDirectory folder;
  TestVm vm(in_shell({"--result", folder("r.json")},
                     "echo '[    1.0] Kernel panic - not syncing: fake' >/dev/ttyS0; exit 0"));
  CHECK(vm.wait_exit() == 0);
  const auto json = nlohmann::json::parse(contents(folder("r.json")));
  CHECK(json["verdict"] == "pass");
  CHECK_THAT(json["disagreement"].get<std::string>(), Contains("panic"));
  CHECK(vm.messages() == "vmm: there is a panic in what the guest printed, but it ended well\n");
}

TEST_CASE("verdict: how far the guest came is told though its log has lost what tells of init", "[boot][verdict]") {
  const TempDirectory folder;
  const std::string flood = "for i in $(seq 4000); do echo $i " + std::string(100, 'x') + " >/dev/kmsg; done";
  TestVm vm(small_kernel() + tiny_initramfs(flood + "; echo c >/proc/sysrq-trigger") +
            Words{"--append", "printk.devkmsg=on", "--result", folder("r.json")});
  CHECK(vm.wait_exit() == 96);
  const auto json = nlohmann::json::parse(contents(folder("r.json")));
  CHECK_THAT(json["last_log"].dump(), Contains("sysrq triggered crash"));
  CHECK(json["phase"] == "userspace");
}
