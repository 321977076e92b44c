// Kernel messages that make a run fail, and those that do not.
#include "vmm/control/verdict/log_judge.h"

#include <catch2/catch.hpp>
#include <fstream>

#include "tests/support/temp_file.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

std::string kind_of(const std::string& fail_on, const std::string& line) {
  LogJudge judge;
  judge.fail_on(fail_on);
  judge.look_at(line);
  return judge.offence() ? judge.offence()->kind : "";
}

}  // namespace

// From the kernels' sources: who said it so, and what would be said.
struct Wording {
  std::string kind;
  std::string kernels;
  std::string line;
};

TEST_CASE("log judge: each kind is known by the words of each kernel", "[judge]") {
  const auto wording = GENERATE(values<Wording>({
      {"panic", "6.1..7.2", "Kernel panic - not syncing: sysrq triggered crash"},
      {"oops", "6.1..7.2", "BUG: kernel NULL pointer dereference, address: 0000000000000000"},
      {"oops", "6.1..7.2", "BUG: unable to handle page fault for address: ffffc90000000000"},
      {"oops", "6.1..7.2", "BUG: TASK stack guard page was hit at 00000000c0ffee00 (stack is 0..1)"},
      {"oops", "6.1..7.2", "BUG: Bad page state in process sh  pfn:01234"},
      {"oops", "6.1..6.12", "BUG: Bad page map in process sh  pte:00000000dead0000 pmd:01234067"},
      {"oops", "7.2", "BUG: Bad page map in process sh  pte:00000000dead0000"},
      {"oops", "6.1..7.2", "Oops: 0002 [#1] PREEMPT SMP NOPTI"},
      {"oops", "6.10..7.2", "Oops: Oops: 0002 [#1] SMP NOPTI"},
      {"oops", "6.1..7.2", "kernel BUG at mm/slub.c:435!"},
      {"oops", "6.1..7.2", "kernel BUG at foo+0x12/0x20 [verbose debug info unavailable]"},
      {"oops", "6.1..6.9", "invalid opcode: 0000 [#1] PREEMPT SMP NOPTI"},
      {"oops", "6.10..7.2", "Oops: invalid opcode: 0000 [#1] SMP NOPTI"},
      {"oops", "6.1..6.9",
       "general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] PREEMPT SMP"},
      {"oops", "6.10..7.2",
       "Oops: general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] SMP"},
      {"oops", "6.1..6.9", "general protection fault: 0000 [#1] PREEMPT SMP"},
      {"oops", "6.1..6.9", "divide error: 0000 [#1] PREEMPT SMP"},
      {"oops", "6.1..6.9", "stack segment: 0000 [#1] PREEMPT SMP"},
      {"oops", "6.1..7.2", "traps: PANIC: double fault, error_code: 0x0"},
      {"oops", "6.1..7.2", "Internal error: Oops: 0000000096000004 [#1] PREEMPT SMP"},
      {"oops", "6.1..7.2", "Internal error: Oops - BUG: 00000000f2000800 [#1] PREEMPT SMP"},
      {"oops", "6.1..7.2", "Internal error: synchronous external abort: 0000000096000410 [#1] PREEMPT SMP"},
      {"oops", "6.1..7.2", "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008"},
      {"oops", "6.1..7.2", "Unable to handle kernel paging request at virtual address dead000000000108"},
      {"oops", "6.1..7.2", "SError Interrupt on CPU0, code 0x00000000be000011 -- SError"},
      {"oops", "6.1..7.2", "Unhandled 64-bit el1h sync exception on CPU1, ESR 0x0000000002000000 -- Unknown"},
      {"warn", "6.1..6.18", "WARNING: CPU: 0 PID: 1 at kernel/sched/core.c:9580 __might_sleep+0x5c/0x60"},
      {"warn", "6.1..6.18", "WARNING: CPU: 0 PID: 1 at __might_sleep+0x5c/0x60"},
      {"warn", "6.19..7.2", "WARNING: kernel/sched/core.c:9580 at __might_sleep+0x5c/0x60, CPU#0: swapper/0/1"},
      {"warn", "6.19..7.2", "WARNING: drivers/a.c:7 at a_probe+0x5c/0x60 [a], CPU#12: (udev-worker)/77"},
      {"warn", "6.19..7.2", "WARNING: at __might_sleep+0x5c/0x60, CPU#0: sh/77"},
      {"kasan", "6.1..7.2", "BUG: KASAN: slab-out-of-bounds in foo+0x10/0x20"},
      {"kasan", "6.1..7.2", "BUG: KCSAN: data-race in a / b"},
      {"kasan", "6.1..7.2", "BUG: KMSAN: uninit-value in foo+0x10/0x20"},
      {"kasan", "6.1..7.2", "BUG: KFENCE: use-after-free read in foo+0x10/0x20"},
      {"lockup", "6.1..7.2", "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [sh:1]"},
      {"lockup", "6.1..6.4", "NMI watchdog: Watchdog detected hard LOCKUP on cpu 1"},
      {"lockup", "6.5..6.18", "watchdog: Watchdog detected hard LOCKUP on cpu 1"},
      {"lockup", "6.19..7.2", "watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 1"},
      {"lockup", "6.1..7.2", "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 31s!"},
      {"hung", "6.1..7.2", "INFO: task dd:123 blocked for more than 120 seconds."},
      {"hung", "7.2", "INFO: task dd:123 blocked in I/O wait for more than 120 seconds."},
      {"rcu", "6.1..7.2", "rcu: INFO: rcu_preempt self-detected stall on CPU"},
      {"rcu", "6.1..7.2", "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:"},
      {"rcu", "6.1..7.2", "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 0-...D } 21 jiffies"},
      {"rcu", "6.1..7.2", "INFO: rcu_tasks detected stalls on tasks:"},
      {"rcu", "6.1..6.18", "INFO: rcu_tasks_trace detected stalls? (Late IPI?)"},
      {"rcu", "6.1..7.2", "WARNING: suspicious RCU usage"},
      {"ubsan", "6.1..7.2", "UBSAN: shift-out-of-bounds in lib/x.c:1:2"},
      {"lockdep", "6.1..7.2", "WARNING: possible circular locking dependency detected"},
      {"lockdep", "6.1..7.2", "WARNING: possible recursive locking detected"},
      {"lockdep", "6.1..7.2", "WARNING: inconsistent lock state"},
      {"lockdep", "6.1..7.2", "WARNING: bad unlock balance detected!"},
      {"lockdep", "6.1..7.2", "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected"},
      {"lockdep", "6.1..7.2", "[ BUG: Invalid wait context ]"},
      {"lockdep", "6.1..7.2", "BUG: sleeping function called from invalid context at kernel/locking/mutex.c:580"},
      {"lockdep", "6.1..7.2", "BUG: scheduling while atomic: sh/77/0x00000002"},
  }));
  CAPTURE(wording.kernels);
  const std::string before =
      GENERATE("", "[    1.250000] ", "<4>[12345.250000] ", "[    1.250000][    T1] ", "[    1.250000][   C12] ");
  CHECK(kind_of(wording.kind, before + wording.line) == wording.kind);
  CHECK(kind_of("none", before + wording.line).empty());
  // Nor is it taken for one of another kind.
  CHECK(kind_of(LogJudge::kinds(), before + wording.line) == wording.kind);
}

TEST_CASE("log judge: what is no trouble is none", "[judge]") {
  const std::string line = GENERATE(
      "", "Linux version 6.1.0", "oops, I did it again", "warning: this is only a test", "random: crng init done",
      "Kernel command line: oops=panic softlockup_panic=1", "Oops: what now?",
      "WARNING: BIOS bug: CPU MTRRs don't cover all of memory, losing 1MB of RAM.",
      "WARNING: 'bootconfig' found on the kernel command line but CONFIG_BOOT_CONFIG is not set.",
      "WARNING: can't access registers at asm_exc_page_fault+0x22/0x30:7",
      "WARNING: The mand mount option has been deprecated and",
      "Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on, data leaks possible",
      "rcu: \tRCU CPU stall warnings timeout set to 21 (rcu_cpu_stall_timeout).",
      "rcu: INFO: Stall ended before state dump start", "watchdog: Delayed init of the lockup detector failed: -19",
      "sched_ext: Soft lockup - CPU 0 stuck for 5s, disabling BPF scheduler",
      "INFO: task sh:7 is blocked on a mutex likely owned by task dd:9.",
      "INFO: The task kworker/0:1:7 has been waiting for writeback completion for more than 120 seconds.",
      "INFO: NMI handler (perf_event_nmi_handler) took too long to run: 1.234 msecs",
      "workqueue: blk_mq_run_work_fn hogged CPU for >10000us 4 times, consider switching to WQ_UNBOUND");
  CHECK(kind_of(LogJudge::kinds(), "[    1.250000] " + line) == "");
}

TEST_CASE("log judge: what the kernel says of a program is none of its own trouble", "[judge]") {
  // A program's name is 15 letters of its own choice.
  const std::string name = GENERATE("a.out", "Oops: 0002 [#1]", "kernel BUG at a", "BUG: KASAN: a i", "BUG: KFENCE: a ",
                                    "BUG: unable to ", "UBSAN: a in b:1", "WARNING: CPU: 1", "SError Interrup",
                                    "INFO: task a:1 ", "watchdog: BUG: ", "Kernel panic - ");
  REQUIRE(name.size() <= 15);
  const std::string line = GENERATE_COPY(
      "traps: " + name + "[77] general protection fault ip:401106 sp:7ffd error:0 in a.out[401000+1000]",
      "traps: " + name + "[77] trap invalid opcode ip:401106 sp:7ffd error:0 in a.out[401000+1000]",
      "traps: " + name + "[77] trap divide error ip:401106 sp:7ffd error:0",
      name + "[77]: segfault at 0 ip 0 sp 1 error 4 in a.out[1]",
      name + "[77]: unhandled exception: DABT (lower EL), ESR 0x92000006, level 2 translation fault in a.out[1]",
      "process '" + name + "' started with executable stack");
  CHECK(kind_of(LogJudge::kinds(), "[    1.250000] " + line) == "");
}

TEST_CASE("log judge: several kinds and a pattern of one's own", "[judge]") {
  CHECK(kind_of("oops,my_driver: failed [0-9]+", "my_driver: failed 17 times") == "my_driver: failed [0-9]+");
  CHECK(kind_of("oops,warn", "Oops: 0002 [#1]") == "oops");
  CHECK(kind_of("a.{1,9}b,oops", "a---b") == "a.{1,9}b");
  CHECK(kind_of("a.{1,9}b,oops", "Oops: 0002 [#1]") == "oops");
  CHECK(kind_of("a {,oops", "Oops: 0002 [#1]") == "oops");
  LogJudge judge;
  CHECK_THROWS_WITH(judge.fail_on("(unclosed"), Contains("'(unclosed' is no regular expression"));
}

TEST_CASE("log judge: what is said later is added, and none clears what was said before", "[judge]") {
  LogJudge judge;
  judge.fail_on("oops,ktap");
  judge.fail_on("none,warn");
  CHECK_FALSE(judge.wants_ktap());
  judge.look_at("Oops: 0002 [#1]");
  CHECK_FALSE(judge.offence());
  judge.look_at("WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2");
  CHECK(judge.offence());
  judge.fail_on("none");
  CHECK_FALSE(judge.wants_anything());
}

TEST_CASE("log judge: what is allowed is passed over, and the next offence counts", "[judge]") {
  const TempDirectory folder;
  const std::string path = folder.path() + "/allow";
  std::ofstream(path) << "# known\n\nknown_driver\n";
  LogJudge judge;
  judge.fail_on("warn");
  judge.allow_file(path);
  judge.look_at("WARNING: CPU: 0 PID: 1 at known_driver.c:1");
  CHECK_FALSE(judge.offence());
  judge.look_at("WARNING: CPU: 0 PID: 1 at new_driver.c:1");
  judge.look_at("WARNING: CPU: 0 PID: 1 at newer_driver.c:1");
  REQUIRE(judge.offence());
  CHECK(judge.offence()->line == "WARNING: CPU: 0 PID: 1 at new_driver.c:1");
  CHECK_THROWS_WITH(judge.allow_file("/nonexistent"), "cannot read --allow '/nonexistent': No such file or directory");
  CHECK_THROWS_WITH(judge.allow_file(folder.path()), Contains("Is a directory"));
  CHECK_THROWS_WITH(judge.allow_file("/dev/zero"), "cannot read --allow '/dev/zero': it is larger than 1 MiB");
}

TEST_CASE("log judge: a line made to be slow is not", "[judge]") {
  LogJudge judge;
  judge.fail_on("(a+)+$");
  // A backtracking matcher would take longer than the universe has existed.
  judge.look_at(std::string(100'000, 'a') + "!");
  CHECK_FALSE(judge.offence());
}
