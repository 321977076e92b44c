// A small trace, for whatever shows or reads one.
#pragma once

#include "vmm/control/trace/run_trace.h"

namespace vmm::test {

inline RunTrace sample_trace() {
  RunTrace trace;
  trace.kernel = "bzImage";
  trace.release = "6.1.0";
  trace.seconds = 2;
  trace.phases = {{"load", 0, 0.1, "the first KVM_RUN"},
                  {"decompress", 0.1, 0.4, "the first exit out of kernel code"},
                  {"init", 0.5, 1.4, "the guest's end"},
                  {"stop", 1.9, 0.1, "the end"}};
  trace.notes = {"initcalls: not told"};
  trace.cpus = {{0, 1100, 3'500'000}, {1, 10, 10'000}};
  trace.kvm = {{"exits", 123'456}, {"irq_exits", 42}, {"nmi_injections", 0}};
  trace.rows = {{"port write", "serial ttyS0", "io_serial_out", 1000, 3'000'000},
                {"memory read", "PCI", "pci_mmcfg_read", 10, 10'000},
                {"port read", "serial ttyS0", "io_serial_in", 100, 500'000}};
  trace.events = {{1000, 200, 0, 0}, {2000, 300, 1, 1}, {1'500'000'000, 4000, 0, 2}};
  trace.events_lost = 1107;
  return trace;
}

}  // namespace vmm::test
