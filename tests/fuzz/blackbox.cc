// The black box, with a small kernel's memory, of either architecture, in which the guest overwrote what it liked,
// VMCOREINFO's lines among it, and with registers of its choice. However it goes, there is an end, and only plain text
// comes out.
#include <algorithm>

#include "tests/fuzz/fuzz_input.h"
#include "tests/support/linux_memory.h"
#include "vmm/blackbox/black_box.h"

namespace vmm::test {

namespace {

bool is_plain(const std::string& text) {
  return std::ranges::all_of(text, [](char c) { return (c >= ' ' && c <= '~') || c == '\t'; });
}

void describe_kernel(FuzzInput& input, LinuxMemory& linux) {
  constexpr uint64_t kCode = LinuxMemory::kImage + LinuxMemory::kCode;
  linux.release = input.take_bool() ? "6.1.0" : "6.12.0";
  linux.info["OSRELEASE"] = linux.release;
  for (size_t i = input.take_below(4); i > 0; --i) {
    const auto text = input.take_bytes(input.take_below(64));
    linux.log(input.take<uint64_t>(), 6, {reinterpret_cast<const char*>(text.data()), text.size()});
  }
  for (uint64_t i = 1; i < 6; ++i) {
    linux.add_code("function", i * 0x1000);
    linux.put(LinuxMemory::kStackEnd - 8 * i, linux.return_address(i * 0x1000 + 0x100));
    linux.orc.push_back({kCode + i * 0x1000, input.take<int16_t>(), input.take<int16_t>(), input.take<uint16_t>()});
  }
  linux.orc.push_back({kCode + 0x6000, 0, 0, 0});
  // A line of VMCOREINFO with another value.
  if (input.take_bool()) {
    auto line = std::next(linux.info.begin(), static_cast<int>(input.take_below(linux.info.size())));
    if (line->first != "OSRELEASE") line->second = fmt::format("{:x}", input.take<uint64_t>());
  }
}

// Parts of the image, near its structures more often than not.
void damage(FuzzInput& input, const LinuxMemory& linux) {
  constexpr uint64_t kPlaces[] = {LinuxMemory::kTables,           LinuxMemory::kInfo,
                                  LinuxMemory::kLogPointer,       LinuxMemory::kLog,
                                  LinuxMemory::kDescriptors,      LinuxMemory::kInfos,
                                  LinuxMemory::kOffsets,          LinuxMemory::kBase,
                                  LinuxMemory::kSymbolNames,      LinuxMemory::kTokens,
                                  LinuxMemory::kTokenIndex,       LinuxMemory::kOrcAddresses,
                                  LinuxMemory::kOrcEntries,       LinuxMemory::kStackEnd - 64,
                                  LinuxMemory::kTables + 0x1ff8,  LinuxMemory::kTables + 0x2050,
                                  LinuxMemory::kInitTask + 0x9c0, LinuxMemory::kFirstTask + 0x9c0,
                                  LinuxMemory::kPerCpu + 0x140};
  while (input.next_step()) {
    const uint64_t place = kPlaces[input.take_below(std::size(kPlaces))] + input.take_below(256);
    const auto bytes = input.take_bytes(1 + input.take_below(16));
    linux.memory.write(GuestAddress{LinuxMemory::kPhysical + place}, bytes);
  }
}

void choose_registers(FuzzInput& input, X86Registers& cpu) {
  if (input.take_bool()) cpu.rsp = input.take<uint64_t>();
  cpu.rbp = LinuxMemory::kImage + LinuxMemory::kStackEnd - input.take_below(128);
  cpu.r10 = input.take<uint64_t>();
  cpu.gs.base = input.take_bool() ? LinuxMemory::kImage + LinuxMemory::kPerCpu : input.take<uint64_t>();
}

void choose_registers(FuzzInput& input, Arm64Registers& cpu) {
  cpu.x[29] = LinuxMemory::kImage + LinuxMemory::kStackEnd - input.take_below(128);
  if (input.take_bool()) cpu.x[29] = input.take<uint64_t>();
  cpu.x[30] = LinuxMemory::kImage + LinuxMemory::kCode + input.take_below(0x6000);
  if (input.take_bool()) cpu.tcr_el1 = input.take<uint64_t>();
  if (input.take_bool()) cpu.ttbr1_el1 = input.take<uint64_t>();
  if (input.take_bool()) cpu.tpidr_el1 = input.take<uint64_t>();
}

// Records that lead to each other, and one where an exception struck.
void write_records(FuzzInput& input, const LinuxMemory& linux) {
  for (uint64_t place = LinuxMemory::kStackEnd - 128; place < LinuxMemory::kStackEnd; place += 16) {
    const bool struck = input.take_below(8) == 0;
    const uint64_t caller = LinuxMemory::kImage + LinuxMemory::kStackEnd - input.take_below(128);
    linux.put(place, struck ? 0 : caller);
    linux.put(place + 8, struck ? 0 : LinuxMemory::kImage + LinuxMemory::kCode + input.take_below(0x6000));
    if (struck) linux.put(place + 16, uint64_t{2});
  }
}

}  // namespace

void fuzz(FuzzInput& input) {
  const bool is_arm64 = input.take_bool();
  LinuxMemory linux(is_arm64 ? LinuxMemory::Machine::kArm64 : LinuxMemory::Machine::kX86);
  describe_kernel(input, linux);
  if (input.take_bool()) linux.add_tasks(is_arm64 ? "__entry_task" : "current_task");
  if (is_arm64) write_records(input, linux);
  linux.write();
  CpuState cpu = linux.cpu(input.take_below(0x6000), LinuxMemory::kStackEnd - input.take_below(128));
  is_arm64 ? choose_registers(input, *cpu.arm64()) : choose_registers(input, *cpu.x86());
  const bool with_cpu = input.take_bool();
  damage(input, linux);

  const BlackBox box(linux.memory, std::span(&cpu, with_cpu ? 1 : 0));
  require(is_plain(box.release()));
  for (const LogLine& line : box.log().lines) require(is_plain(line.format()));
  box.pid_on(cpu);
  const auto frames = box.stack(cpu);
  require(frames.size() <= 64);
  for (const Frame& frame : frames) require(is_plain(frame.symbol));
}

}  // namespace vmm::test
