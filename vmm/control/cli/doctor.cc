// What is looked at, and the fixes; see doctor.h.
#include "vmm/control/cli/doctor.h"

#include <fmt/core.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <optional>
#include <string>

#include "devices/backends/disk/io_engine.h"
#include "vmm/core/error.h"
#include "vmm/core/event_loop.h"
#include "vmm/core/guest_memory.h"
#include "vmm/kvm/host_cpu.h"
#include "vmm/kvm/kvm.h"
#include "vmm/kvm/vm.h"
#include "vmm/machine/architecture.h"
#include "vmm/machine/board.h"
#include "vmm/machine/config.h"
#include "vmm/machine/outcome.h"

namespace vmm {

namespace {

void ok(const std::string& what) { fmt::print("ok    {}\n", what); }
void note(const std::string& what, const std::string& fix) { fmt::print("note  {}\n  fix: {}\n", what, fix); }
void bad(const std::string& what, const std::string& fix) {
  fmt::print("bad   {}\n", what);
  if (!fix.empty()) fmt::print("  fix: {}\n", fix);
}

void look_at_kernel() {
  utsname host{};
  ::uname(&host);
  ok(fmt::format("host kernel {} {}", host.sysname, host.release));
}

// False when no machine can run.
bool look_at_kvm() {
  try {
    const Kvm kvm;
    // What it takes of the CPU it takes for a machine alone.
    const GuestMemory memory(memory_ranges(uint64_t{1} << 20), GuestMemory::Backing::kPrivate);
    const Vm machine(kvm, memory);
    ok(fmt::format("/dev/kvm makes machines, with all that is needed; up to {} vCPUs",
                   std::min(kvm.max_vcpus(), kArchitecture.max_cpus)));
  } catch (const Error& error) {
    bad(error.what(), error.fix());
    return false;
  }
  if (!Kvm::emulates_kernel_code()) {
    ok(fmt::format("hardware virtualization ({})", virtualization_mark()));
  } else {
    note(fmt::format("no {}: this KVM only emulates kernel code; small payloads run, stock kernels do not",
                     virtualization_mark()),
         "run in the lab: tools/lab -- vmm ... (or enable nested virtualization in the machine around this one)");
  }
  return true;
}

// Linux 6.6 and later have a switch; else it is a sandbox that forbids it, or a kernel without it.
std::string fix_for_io_uring() {
  std::ifstream file("/proc/sys/kernel/io_uring_disabled");
  int disabled = 0;
  if (file >> disabled && disabled != 0) return "sudo sysctl kernel.io_uring_disabled=0";
  return "run outside the container or sandbox that forbids it, or on a kernel with CONFIG_IO_URING";
}

void look_at_io_uring() {
  EventLoop loop;
  try {
    IoEngine::create(loop, IoEngine::Kind::kIoUring);
    ok("io_uring, restricted to file I/O: disks use it");
  } catch (const Error& error) {
    note(fmt::format("{}: disks use threads instead", error.what()), fix_for_io_uring());
  }
}

void look_at_limits() {
  constexpr rlim_t kEnough = 1024;  // a machine of 8 vCPUs and 24 disks takes about 500
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  const std::string have = fmt::format("{} open files allowed", files.rlim_max);
  files.rlim_max >= kEnough ? ok(have) : note(have + ": few for many disks and vCPUs", "ulimit -Hn 4096");
}

void look_at_memory() {
  const auto pages = static_cast<uint64_t>(::sysconf(_SC_AVPHYS_PAGES));
  const uint64_t free = pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  ok(fmt::format("{} of memory free", size_text(free >> 20 << 20)));
}

}  // namespace

int run_doctor() {
  look_at_kernel();
  const bool usable = look_at_kvm();
  look_at_io_uring();
  look_at_limits();
  look_at_memory();
  return usable ? exit_code::kClean : exit_code::kHostTrouble;
}

}  // namespace vmm
