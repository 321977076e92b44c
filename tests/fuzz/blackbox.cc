// The black box, with a small kernel's memory in which the guest overwrote what it liked, VMCOREINFO's lines among it,
// and with registers of its choice. However it goes, there is an end, and only plain text comes out.
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

}  // namespace

void fuzz(FuzzInput& input) {
  LinuxMemory linux;
  describe_kernel(input, linux);
  if (input.take_bool()) linux.add_tasks();
  linux.write();
  CpuState cpu = linux.cpu(input.take_below(0x6000), LinuxMemory::kStackEnd - input.take_below(128));
  if (input.take_bool()) cpu.x86()->rsp = input.take<uint64_t>();
  cpu.x86()->rbp = LinuxMemory::kImage + LinuxMemory::kStackEnd - input.take_below(128);
  cpu.x86()->r10 = input.take<uint64_t>();
  cpu.x86()->gs.base = input.take_bool() ? LinuxMemory::kImage + LinuxMemory::kPerCpu : input.take<uint64_t>();
  const bool with_cpu = input.take_bool();
  damage(input, linux);

  const BlackBox box(linux.memory, std::span(&cpu, with_cpu ? 1 : 0));
  require(is_plain(box.release()));
  for (const LogLine& line : box.log()) require(is_plain(line.format()));
  box.pid_on(cpu);
  const auto frames = box.stack(cpu);
  require(frames.size() <= 64);
  for (const Frame& frame : frames) require(is_plain(frame.symbol));
}

}  // namespace vmm::test
