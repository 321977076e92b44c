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

TEST_CASE("log judge: each kind is known by the kernel's own words", "[judge]") {
  const auto [kind, line] = GENERATE(table<std::string, std::string>({
      {"panic", "[    1.2] Kernel panic - not syncing: sysrq triggered crash"},
      {"oops", "[    1.2] BUG: kernel NULL pointer dereference, address: 0000000000000000"},
      {"oops", "[    1.2] Oops: 0002 [#1] PREEMPT SMP NOPTI"},
      {"oops", "[    1.2] kernel BUG at mm/slub.c:435!"},
      {"oops", "[    1.2] general protection fault, probably for non-canonical address"},
      {"warn", "[    1.2] WARNING: CPU: 0 PID: 1 at kernel/sched/core.c:9580 __might_sleep+0x5c/0x60"},
      {"kasan", "[    1.2] BUG: KASAN: slab-out-of-bounds in foo+0x10/0x20"},
      {"kasan", "[    1.2] BUG: KCSAN: data-race in a / b"},
      {"lockup", "[   28.0] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [sh:1]"},
      {"hung", "[  242.0] INFO: task dd:123 blocked for more than 120 seconds."},
      {"rcu", "[   21.0] rcu: INFO: rcu_preempt self-detected stall on CPU"},
      {"ubsan", "[    1.2] UBSAN: shift-out-of-bounds in lib/x.c:1:2"},
      {"lockdep", "[    1.2] WARNING: possible circular locking dependency detected"},
  }));
  CHECK(kind_of(kind, line) == kind);
  CHECK(kind_of("none", line).empty());
}

TEST_CASE("log judge: what is no trouble is none", "[judge]") {
  const std::string line = GENERATE("Linux version 6.1.0", "oops, I did it again", "warning: this is only a test",
                                    "random: crng init done", "");
  CHECK(kind_of(LogJudge::kinds(), line).empty());
}

TEST_CASE("log judge: several kinds and a pattern of one's own", "[judge]") {
  CHECK(kind_of("oops,my_driver: failed [0-9]+", "my_driver: failed 17 times") == "my_driver: failed [0-9]+");
  CHECK(kind_of("oops,warn", "Oops: 0002") == "oops");
  CHECK(kind_of("a.{1,9}b,oops", "a---b") == "a.{1,9}b");
  CHECK(kind_of("a.{1,9}b,oops", "Oops: 0002") == "oops");
  CHECK(kind_of("a {,oops", "Oops: 0002") == "oops");
  LogJudge judge;
  CHECK_THROWS_WITH(judge.fail_on("(unclosed"), Contains("'(unclosed' is no regular expression"));
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
