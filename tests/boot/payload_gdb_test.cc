// gdb and a small guest: what any KVM's guest debugging does.
//
// Here KVM may interpret the guest's code, and not know INT3: breakpoints are in debug registers, and what they watch
// is at CPL 3.
#include <catch2/catch.hpp>

#include "tests/support/gdb.h"
#include "tests/support/payload.h"
#include "tests/support/temp_file.h"
#include "tests/support/test_vm.h"

using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

// Of a function, as gdb prints it. gdb itself is given no symbols: it expects 64-bit ones.
std::string address_of(const std::string& symbol) {
  const std::string line = "nm " PAYLOADS "/payload.elf | sed -n 's/^0*\\([0-9a-f]*\\) . " + symbol + "$/0x\\1/p'";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(line.c_str(), "r"), ::pclose);
  char text[64] = {};
  if (!pipe || std::fgets(text, sizeof text, pipe.get()) == nullptr) return "0";
  return std::string(text).substr(0, std::string(text).find('\n'));
}

struct Fixture {
  std::vector<std::string> paused(const std::string& words, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = payload(words, more);
    arguments.insert(arguments.begin(), {"debug", "--gdb", "unix:" + socket});
    return arguments;
  }
  std::vector<std::string> running(const std::string& words, const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = payload(words, more);
    arguments.insert(arguments.begin(), {"--gdb", "unix:" + socket});
    return arguments;
  }
  void ready(TestVm& vm) const { vm.wait_for_message("target remote " + socket); }
  std::string debug(const std::vector<std::string>& commands) const { return gdb("", socket, commands); }

  TempDirectory folder;
  std::string socket = folder("g");
};

}  // namespace

TEST_CASE("gdb: from the first instruction, by steps, to a breakpoint and on to the end", "[payload][gdb]") {
  if (!has_gdb() || !debug_registers_work()) {
    WARN("skipped: there is no gdb, or the CPU here does not stop at a guest's breakpoints");
    return;
  }
  const Fixture f;
  TestVm vm(f.paused("case=hello status=3"));
  f.ready(vm);
  const std::string main = address_of("main");
  const std::string said =
      f.debug({"info threads", "stepi", "stepi", "hbreak *" + main, "continue", "info registers cs", "x/2i $rip",
               "set $rbx = 0x1234", "stepi", "p $rbx", "monitor info mem", "monitor help", "continue"});
  CHECK_THAT(said, Contains("Thread 1 \"vcpu0\" (running)"));
  CHECK_THAT(said, Contains("Breakpoint 1, 0x0000000000" + main.substr(2)));
  CHECK_THAT(said, Contains("0x1b"));  // its user's code segment
  CHECK_THAT(said, Contains("=> " + main + ":\tpush"));
  CHECK_THAT(said, Contains("$1 = 4660"));
  CHECK_THAT(said, Contains("0x000003ffffff RAM") && Contains("monitor sysrq"));
  CHECK_THAT(said, Contains("exited with code 07"));
  CHECK(vm.wait_exit() == debug_status(3));
  CHECK_THAT(vm.output(), Contains("payload: hello"));
}

TEST_CASE("gdb: a watchpoint stops at what writes, and the machine goes on without gdb", "[payload][gdb]") {
  if (!has_gdb() || !breakpoints_work()) {
    WARN("skipped: there is no gdb, or the CPU here does not stop at a guest's watchpoints");
    return;
  }
  const Fixture f;
  TestVm vm(f.paused("case=hello status=3"));
  f.ready(vm);
  const std::string said =
      f.debug({"hbreak *" + address_of("main"), "continue", "eval \"watch *(int *)0x%lx\", (unsigned long)$rsp - 4",
               "continue", "delete", "detach"});
  CHECK_THAT(said, Contains("Hardware watchpoint 2") && Contains("Old value = 0") && Contains("detached"));
  CHECK(vm.wait_exit() == debug_status(3));
}

TEST_CASE("gdb: attached to a running machine, again and again; left, it runs", "[payload][gdb]") {
  if (!has_gdb()) {
    WARN("skipped: there is no gdb");
    return;
  }
  const Fixture f;
  TestVm vm(f.running("case=spin", {"--hang-timeout", "none"}));
  vm.wait_for("payload: spinning");
  for (int i = 0; i < 2; ++i) {
    const std::string said = f.debug({interrupt_after(2), "continue", "x/i $rip", "monitor why"});
    CHECK_THAT(said, Contains("SIGINT") && Contains("=> 0x") && Contains("vCPU 0: in user space"));
  }
  vm.signal(SIGTERM);
  CHECK(vm.wait_exit() == 143);
}

TEST_CASE("gdb: while it is there a guest that spins has not hung, and when it has gone it has", "[payload][gdb]") {
  if (!has_gdb()) {
    WARN("skipped: there is no gdb");
    return;
  }
  const Fixture f;
  TestVm vm(f.paused("case=spin", {"--hang-timeout", "1"}));  // gdb is there before the guest begins
  f.ready(vm);
  const std::string said = f.debug({interrupt_after(5), "continue", "x/i $rip", "shell sleep 2", "monitor why"});
  CHECK_THAT(said, Contains("SIGINT") && Contains("vCPU 0: in user space"));
  CHECK_THAT(vm.messages(), !Contains("no progress"));
  CHECK(vm.wait_exit() == 102);
}

TEST_CASE("gdb: it begins anew with monitor reset, and ends the run with kill", "[payload][gdb]") {
  if (!has_gdb()) {
    WARN("skipped: there is no gdb");
    return;
  }
  const Fixture f;
  TestVm vm(f.running("case=spin", {"--hang-timeout", "none"}));
  vm.wait_for("payload: spinning");
  const std::string said =
      f.debug({"monitor reset", "shell sleep 1", "maintenance flush register-cache", "info registers rip", "kill"});
  CHECK_THAT(said, Contains("0x100010") && Contains("killed"));
  CHECK(vm.wait_exit() == 130);
}
