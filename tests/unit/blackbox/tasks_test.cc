// Which task a CPU runs, in kernels of several kinds.
#include "vmm/blackbox/tasks.h"

#include <catch2/catch.hpp>

#include "tests/support/linux_memory.h"

using namespace vmm;
using namespace vmm::test;

namespace {

struct Fixture : LinuxMemory {
  using LinuxMemory::LinuxMemory;
  // A task with this PID runs on a CPU that is in the kernel.
  std::optional<uint32_t> find(uint32_t pid) {
    put(kAnotherTask + kPid, pid);
    set_current(kAnotherTask);
    return found();
  }
  std::optional<uint32_t> found() {
    write();
    return found_by(kernel_cpu());
  }
  std::optional<uint32_t> found_by(const CpuState& cpu) const {
    const AddressSpace space = kernel();
    const Kallsyms names = Kallsyms::read(space, vmcoreinfo());
    return Tasks(space, names).pid_on(cpu);
  }
  CpuState kernel_cpu() const {
    CpuState state = cpu(0);
    if (state.x86() != nullptr) state.x86()->gs.base = kImage + kPerCpu;
    return state;
  }
  static constexpr uint64_t kAnotherTask = 0x5c000;
};

}  // namespace

TEST_CASE("tasks: the PID of what runs on a CPU, whatever lies between it and the parent", "[blackbox]") {
  const std::string current = GENERATE(as<std::string>(), "current_task", "pcpu_hot");
  const bool canary = GENERATE(true, false);
  Fixture linux;
  linux.add_tasks(current, canary);
  CHECK(linux.find(4321) == 4321);
}

TEST_CASE("tasks: an idle CPU runs PID 0, even before there is any other", "[blackbox]") {
  Fixture linux;
  linux.add_tasks();
  CHECK(linux.found() == 0);
  linux.put(LinuxMemory::kFirstTask + LinuxMemory::kPid, uint64_t{0});
  CHECK(linux.found() == 0);
}

TEST_CASE("tasks: in user space the kernel's GS base is the other one", "[blackbox]") {
  Fixture linux;
  linux.add_tasks();
  CHECK(linux.find(77) == 77);
  CpuState cpu = linux.kernel_cpu();
  std::swap(cpu.x86()->gs.base, cpu.x86()->kernel_gs_base);
  cpu.x86()->privilege = 3;
  CHECK(linux.found_by(cpu) == 77);
  cpu.x86()->privilege = 0;  // not yet exchanged
  CHECK(linux.found_by(cpu) == 77);
}

TEST_CASE("tasks: what is not understood is not guessed", "[blackbox]") {
  Fixture linux;
  CHECK_FALSE(linux.found());  // no symbols
  linux.add_tasks();
  // The first child has another PID: the members are in another order.
  linux.put(LinuxMemory::kFirstTask + LinuxMemory::kPid, uint64_t{0x200000002});
  CHECK_FALSE(linux.find(77));
  CpuState cpu = linux.kernel_cpu();
  cpu.x86()->gs.base = 0x7f0000000000;
  CHECK_FALSE(linux.found_by(cpu));
  cpu = linux.kernel_cpu();
  cpu.activity = CpuState::Activity::kNotStarted;
  CHECK_FALSE(linux.found_by(cpu));
}

TEST_CASE("tasks: on arm64 the task is known in the kernel and in user space", "[blackbox]") {
  Fixture linux(LinuxMemory::Machine::kArm64);
  linux.add_tasks("__entry_task");
  CHECK(linux.found() == 0);
  CHECK(linux.find(4321) == 4321);
  CpuState cpu = linux.cpu(0);
  cpu.arm64()->pstate = 0;
  CHECK(linux.found_by(cpu) == 4321);
  cpu.arm64()->tpidr_el1 = 0x7f0000000000;
  CHECK_FALSE(linux.found_by(cpu));
}
