// What a run comes to, from what is known of its end.
#include "vmm/control/verdict/verdict.h"

#include <catch2/catch.hpp>
#include <cerrno>

using namespace vmm;
using Catch::Matchers::Contains;
using Kind = Outcome::Kind;

namespace {

const Outcome kPassed{Kind::kCommand, exit_code::kClean, {}};
const Outcome kReset{Kind::kReset, exit_code::kReset, "guest asked for a reset"};
const Evidence::Panic kOops{"Fatal exception", 2.5};

Findings silent_kernel() { return {.kernel = "Linux 6.1", .log = {"[    0.1] one", "[    0.2] two"}}; }

Findings panicked_kernel(const std::string& reason) {
  Findings findings = silent_kernel();
  findings.panic = {reason, 1.25};
  return findings;
}

}  // namespace

TEST_CASE("verdict: an end that nothing speaks against stays what it is", "[verdict]") {
  const auto [kind, code] =
      GENERATE(table<Kind, int>({{Kind::kCommand, 0}, {Kind::kCommand, 3}, {Kind::kPoweroff, 0}, {Kind::kReset, 104}}));
  const Evidence evidence{.ending = {kind, code, "it ended"}, .has_console = true, .findings = silent_kernel()};
  const Outcome verdict = verdict_of(evidence);
  CHECK(verdict.kind == kind);
  CHECK(verdict.exit_code == code);
  CHECK(verdict.what == "it ended");
  CHECK(disagreement(evidence, verdict).empty());
}

TEST_CASE("verdict: the guest's own tests fail a run that ended well, and no other", "[verdict]") {
  Evidence evidence{.ending = {Kind::kPoweroff, 0, "guest powered off"}, .failed_ktap = "1 of 3 failed"};
  CHECK(verdict_of(evidence).exit_code == exit_code::kOffence);
  CHECK(verdict_of(evidence).what == "by the guest's KTAP: 1 of 3 failed");
  evidence.ending = kReset;
  CHECK(verdict_of(evidence).exit_code == exit_code::kReset);
}

TEST_CASE("verdict: a panic on a console explains a reset", "[verdict]") {
  const Evidence evidence{
      .ending = kReset, .has_console = true, .console_panic = kOops, .findings = panicked_kernel("Fatal exception")};
  const Outcome verdict = verdict_of(evidence);
  CHECK(verdict.kind == Kind::kPanic);
  CHECK(verdict.exit_code == exit_code::kPanic);
  CHECK(verdict.what == "kernel panic at 2.50 s: Fatal exception");
  CHECK(disagreement(evidence, verdict).empty());
}

TEST_CASE("verdict: a panic that only memory knows of explains a time-out, and the difference is told", "[verdict]") {
  Evidence evidence{.ending = {Kind::kTimeout, exit_code::kTimeout, "timed out"},
                    .has_console = true,
                    .findings = panicked_kernel("Attempted to kill init! exitcode=0x00000100")};
  const Outcome verdict = verdict_of(evidence);
  CHECK(verdict.exit_code == exit_code::kInitDied);
  CHECK_THAT(verdict.what, Contains("1.25 s"));
  CHECK_THAT(disagreement(evidence, verdict), Contains("no console showed"));
  evidence.has_console = false;
  CHECK(disagreement(evidence, verdict).empty());
}

TEST_CASE("verdict: a panic that only a console shows is believed where the log in memory cannot be read",
          "[verdict]") {
  const Evidence evidence{.ending = kReset, .has_console = true, .console_panic = kOops, .findings = Findings()};
  CHECK(verdict_of(evidence).kind == Kind::kPanic);
  CHECK(disagreement(evidence, verdict_of(evidence)).empty());
}

TEST_CASE("verdict: a panic that the log in memory does not know is none, and the difference is told", "[verdict]") {
  Evidence evidence{.ending = kReset, .has_console = true, .console_panic = kOops, .findings = silent_kernel()};
  CHECK(verdict_of(evidence).kind == Kind::kReset);
  CHECK_THAT(disagreement(evidence, verdict_of(evidence)), Contains("the log in memory does not"));
  evidence.ending = {Kind::kPanic, exit_code::kPanic, {}};
  CHECK(verdict_of(evidence).what == "kernel panic at 2.50 s: Fatal exception");
}

TEST_CASE("verdict: a panic that is merely printed does not make a pass a failure, but is told", "[verdict]") {
  const Evidence evidence{.ending = kPassed, .has_console = true, .console_panic = kOops, .findings = silent_kernel()};
  const Outcome verdict = verdict_of(evidence);
  CHECK(verdict.exit_code == exit_code::kClean);
  CHECK_THAT(disagreement(evidence, verdict), Contains("it ended well"));
}

TEST_CASE("verdict: what a crash kernel does changes nothing about the panic before it", "[verdict]") {
  const auto [kind, code] = GENERATE(
      table<Kind, int>({{Kind::kPoweroff, 0}, {Kind::kReset, 104}, {Kind::kTimeout, 124}, {Kind::kNoVerdict, 103}}));
  Evidence evidence{.ending = {kind, code, "it ended"}, .has_console = true, .survived_panic = kOops};
  CHECK(verdict_of(evidence).exit_code == exit_code::kPanic);
  CHECK_THAT(verdict_of(evidence).what, Contains("Fatal exception"));
  CHECK_THAT(verdict_of(evidence).details, Contains("then its crash kernel: "));
  CHECK(disagreement(evidence, verdict_of(evidence)).empty());
  CHECK(detectors(evidence)[0].says == "panic: Fatal exception");
  evidence.findings = silent_kernel();
  evidence.findings->crash_kernel = true;
  CHECK(verdict_of(evidence).exit_code == exit_code::kPanic);
}

TEST_CASE("verdict: a crash kernel that no console showed is known by its log", "[verdict]") {
  Evidence evidence{.ending = {Kind::kPoweroff, 0, "it ended"}, .findings = silent_kernel()};
  evidence.findings->crash_kernel = true;
  CHECK(verdict_of(evidence).exit_code == exit_code::kPanic);
  evidence.ending = {Kind::kQuit, exit_code::kQuit, "quit"};
  CHECK(verdict_of(evidence).exit_code == exit_code::kQuit);
}

TEST_CASE("verdict: who prints the log of an old crash has had none", "[verdict]") {
  const Evidence evidence{.ending = kPassed, .has_console = true, .survived_panic = kOops, .findings = silent_kernel()};
  CHECK(verdict_of(evidence).exit_code == exit_code::kClean);
  CHECK_THAT(disagreement(evidence, verdict_of(evidence)), Contains("it ended well"));
}

TEST_CASE("verdict: what somebody decided is no panic", "[verdict]") {
  const Evidence evidence{
      .ending = {Kind::kQuit, exit_code::kQuit, "quit"}, .has_console = true, .console_panic = kOops};
  CHECK(verdict_of(evidence).kind == Kind::kQuit);
}

TEST_CASE("verdict: data that may be lost makes a good end the host's trouble, and no other end", "[verdict]") {
  CHECK(verdict_of({.ending = kPassed, .flushed = false}).exit_code == exit_code::kHostTrouble);
  CHECK(verdict_of({.ending = kReset, .flushed = false}).kind == Kind::kReset);
}

TEST_CASE("verdict: output that could not be written makes a command's end the host's trouble, and no other",
          "[verdict]") {
  Evidence evidence{.ending = {Kind::kCommand, GENERATE(0, 3), {}}, .output_lost = ENOSPC};
  CHECK(verdict_of(evidence).exit_code == exit_code::kHostTrouble);
  CHECK_THAT(verdict_of(evidence).what, Contains("No space left on device"));
  CHECK(verdict_of(evidence).details == "  fix: send it where there is room");
  evidence.ending = kReset;
  CHECK(verdict_of(evidence).exit_code == exit_code::kReset);
}

TEST_CASE("verdict: a message that --fail-on names fails a pass, and leaves a failure as it is", "[verdict]") {
  const LogJudge::Offence offence{"warn", "WARNING: CPU: 0 PID: 1"};
  const Outcome failed = verdict_of({.ending = kPassed, .offence = offence});
  CHECK(failed.exit_code == exit_code::kOffence);
  CHECK(failed.what == "warn in the kernel's log: WARNING: CPU: 0 PID: 1");
  CHECK(verdict_of({.ending = {Kind::kCommand, 3, {}}, .offence = offence}).exit_code == 3);
}

TEST_CASE("verdict: tests that failed, by what the command printed, fail a pass", "[verdict]") {
  const Outcome failed = verdict_of({.ending = kPassed, .failed_tests = "1 of 2 failed"});
  CHECK(failed.kind == Kind::kCommand);
  CHECK(failed.exit_code == 1);
  CHECK(failed.what == "by the command's TAP: 1 of 2 failed");
  CHECK(verdict_of({.ending = {Kind::kCommand, 3, {}}, .failed_tests = "1 of 2 failed"}).exit_code == 3);
}

TEST_CASE("verdict: without a root file system it says what to pass", "[verdict]") {
  using Root = Evidence::Root;
  const auto [root, words] = GENERATE(table<Root, std::string>({{Root::kNothing, "--disk"},
                                                                {Root::kIdleDisk, "no driver took the disk"},
                                                                {Root::kDirectory, "CONFIG_VIRTIO_FS"},
                                                                {Root::kDrivenDisk, ""}}));
  const Evidence evidence{.ending = kReset,
                          .findings = panicked_kernel("VFS: Unable to mount root fs on unknown-block(0,0)"),
                          .root = root};
  const Outcome verdict = verdict_of(evidence);
  CHECK(verdict.exit_code == exit_code::kNoRoot);
  CHECK_THAT(verdict.details, Contains(words));
  CHECK(verdict.details.empty() == words.empty());
}

TEST_CASE("verdict: each detector says what it saw", "[verdict]") {
  const auto said = detectors({.ending = kReset, .console_panic = kOops, .findings = silent_kernel()});
  REQUIRE(said.size() == 3);
  CHECK(said[0].says == "panic: Fatal exception");
  CHECK(said[1].says.empty());
  CHECK(said[2].says == "reset");
}

TEST_CASE("phase: it is the furthest that something proves", "[verdict]") {
  CHECK(phase_of({.ending = kReset}).empty());
  CHECK(phase_of({.ending = kReset, .findings = Findings()}) == "start");
  Evidence evidence{.ending = kReset, .findings = silent_kernel()};
  evidence.findings->log_whole = true;
  CHECK(phase_of(evidence) == "kernel");
  evidence.findings->user_space = true;
  CHECK(phase_of(evidence) == "userspace");
  evidence.command_started = true;
  CHECK(phase_of(evidence) == "command");
}

TEST_CASE("phase: a log that has lost its beginning does not tell, but a console may", "[verdict]") {
  Evidence evidence{.ending = kReset, .findings = silent_kernel()};
  CHECK(phase_of(evidence).empty());
  evidence.init_on_console = true;
  CHECK(phase_of(evidence) == "userspace");
}

TEST_CASE("phase: an init that was tried in vain is no user space", "[verdict]") {
  const std::string reason =
      GENERATE("Requested init /x failed (error -2).", "No working init found.  Try passing init=");
  Evidence evidence{.ending = kReset, .init_on_console = true, .findings = panicked_kernel(reason)};
  evidence.findings->user_space = true;
  CHECK(phase_of(evidence) == "kernel");
}
