// Phases from moments and log lines, true and forged.
#include "vmm/control/trace/boot_phases.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

using namespace vmm;
using Catch::Matchers::Contains;

namespace {

struct Told {
  std::vector<std::string> notes;
  std::vector<RunTrace::Phase> phases;
  std::string names;
};

Told tell(const BootMoments& moments, const BootLog& log) {
  Told told;
  told.phases = boot_phases(moments, log, told.notes);
  double at = 0;
  for (const RunTrace::Phase& phase : told.phases) {
    CHECK(phase.start == Approx(at));
    CHECK(phase.seconds >= 0);
    at += phase.seconds;
    told.names += (told.names.empty() ? "" : " ") + phase.name;
  }
  CHECK(at == Approx(moments.end));
  return told;
}

constexpr BootMoments kMoments{.first_entry = 0.1, .kernel_exit = 0.5, .stop = 3, .end = 3.2, .compressed = true};

BootLog log_of_linux() {
  BootLog log;
  log.line(0, "Linux version 6.1.0");
  log.line(0.2, "smp: Brought up 1 node, 1 CPU");
  log.line(0.21, "devtmpfs: initialized");
  log.line(1.2, "Freeing unused kernel image (initmem) memory: 1000K");
  log.line(1.3, "Run /init as init process");
  return log;
}

}  // namespace

TEST_CASE("boot phases: exits and the log tell them all", "[trace]") {
  const Told told = tell(kMoments, log_of_linux());
  CHECK(told.names == "load decompress start_kernel initcalls init stop");
  CHECK(told.phases[1].seconds == Approx(0.4));
  CHECK(told.phases[2].seconds == Approx(0.2));
  CHECK(told.phases[3].seconds == Approx(1.0));
  CHECK(told.phases[4].seconds == Approx(1.3));
  CHECK(told.notes.empty());
  CHECK_THAT(told.phases[1].until, Contains("first exit out of kernel code"));
}

TEST_CASE("boot phases: a console line that was seen soon after its stamp places the log better", "[trace]") {
  BootLog log = log_of_linux();
  log.console_line("[    0.400000] late", 0.95);
  log.console_line("[    0.500000][    T1] soon", 0.92);
  const Told told = tell(kMoments, log);
  CHECK(told.phases[1].seconds == Approx(0.32));
  CHECK_THAT(told.phases[1].until, Contains("console line"));
}

TEST_CASE("boot phases: a command is a phase of its own", "[trace]") {
  BootMoments moments = kMoments;
  moments.command_start = 2.5;
  const Told told = tell(moments, log_of_linux());
  CHECK(told.names == "load decompress start_kernel initcalls init command stop");
  CHECK(told.phases[5].seconds == Approx(0.5));
}

TEST_CASE("boot phases: a kernel that was not compressed has no such phase", "[trace]") {
  BootMoments moments = kMoments;
  moments.compressed = false;
  const Told told = tell(moments, log_of_linux());
  CHECK(told.names == "load entry start_kernel initcalls init stop");
  CHECK_THAT(told.notes.front(), Contains("not compressed"));
}

TEST_CASE("boot phases: what nothing tells is not invented", "[trace]") {
  BootMoments moments = kMoments;
  moments.kernel_exit.reset();
  const Told nothing = tell(moments, BootLog());
  CHECK(nothing.names == "load guest stop");
  CHECK_THAT(nothing.notes.front(), Contains("no exit came out"));
  const Told no_log = tell(kMoments, BootLog());
  CHECK(no_log.names == "load decompress kernel stop");
  CHECK_THAT(no_log.notes.front(), Contains("log was not found"));
  BootLog short_log;
  short_log.line(0.2, "smp: Brought up 1 node, 1 CPU");
  const Told no_init = tell(kMoments, short_log);
  CHECK(no_init.names == "load decompress start_kernel initcalls stop");
  CHECK_THAT(no_init.notes.front(), Contains("no line that says"));
}

TEST_CASE("boot phases: a forged log cannot break the row of phases", "[trace]") {
  BootLog log;
  log.console_line("[ 1e308] smp: Brought up", 1);
  log.console_line("[    nan] smp: Brought up", 1);
  log.console_line("[   -5.0] smp: Brought up", 1);
  log.console_line("[", 1);
  log.console_line("[   ", 1);
  log.console_line("[ 1.0", 1);
  log.console_line("[ 1.0]", 1);
  CHECK_FALSE(log.clock_start());
  log.line(1e9, "Run /init as init process");
  log.line(5, "smp: Brought up");
  const Told told = tell(kMoments, log);
  CHECK(told.phases.front().name == "load");
}

TEST_CASE("boot phases: lines that tell of init are known with a stamp and without", "[trace]") {
  CHECK(tells_of_init("[    1.300000] Run /init as init process"));
  CHECK(tells_of_init("[    1.300000][    T1] Run /init as init process"));
  CHECK(tells_of_init("Freeing unused kernel image (initmem) memory: 1000K"));
  CHECK_FALSE(tells_of_init("[    1.300000] I Run /init as init process"));
  CHECK_FALSE(tells_of_init("Run /init"));
}
