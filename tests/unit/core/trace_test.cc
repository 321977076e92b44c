// The areas of --trace, and their lines.
#include "vmm/core/trace.h"

#include <unistd.h>

#include <catch2/catch.hpp>

#include "tests/support/descriptors.h"
#include "vmm/core/error.h"
#include "vmm/core/log.h"

using namespace vmm;
using namespace vmm::test;

TEST_CASE("trace: areas are told from a file's name, and misspelt ones from both", "[core][trace]") {
  CHECK(parse_trace_areas("pio,kvm") == std::vector{TraceArea::kPio, TraceArea::kKvm});
  CHECK_FALSE(parse_trace_areas("pio.json"));
  CHECK_FALSE(parse_trace_areas(""));
  CHECK_THROWS_AS(parse_trace_areas("pio,"), Error);
  CHECK_THROWS_AS(parse_trace_areas("tcp,pio"), Error);
}

TEST_CASE("trace: what was named is logged under its name, and nothing else", "[core][trace]") {
  const Pipe pipe;
  set_log_fd(pipe.write.get());
  set_traced(TraceArea::kPio, true);
  trace(TraceArea::kPio, "out {:#x}", 0x70);
  trace(TraceArea::kMmio, "read");
  set_traced(TraceArea::kPio, false);
  trace(TraceArea::kPio, "out");
  set_log_fd(STDERR_FILENO);
  CHECK(read_available(pipe.read) == "vmm: pio: out 0x70\n");
}
