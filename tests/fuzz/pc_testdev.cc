// QEMU's test device: any access to all that it has, and just beside it. What a guest has in memory stays there,
// however often its pages are looked up anew, and a level is what the last byte said.
#include "devices/pc/pc_testdev.h"

#include <array>

#include "tests/fuzz/fuzz_input.h"

namespace {

struct Wire : vmm::IrqLine {
  explicit Wire(bool& of) : level(of) {}
  void set(bool to) override { level = to; }
  bool& level;
};

}  // namespace

void vmm::test::fuzz(FuzzInput& input) {
  constexpr uint64_t kPorts = 0xe0, kPageLookup = 0xe4, kLevels = 0x2000, kMemory = 0xff000000, kMemorySize = 0x10000;
  constexpr uint64_t kPages = 4, kBeside = 8;
  const GuestMemory memory(std::array{GuestMemory::Range{{0}, kPages * GuestMemory::kPageSize}});
  for (uint64_t page = 0; page < kPages; ++page) memory.write_value({page * GuestMemory::kPageSize}, ~page);

  std::array<bool, PcTestdev::kInputs> levels{}, expected{};
  PcTestdev::Inputs inputs;
  for (size_t i = 0; i < inputs.size(); ++i) inputs[i] = std::make_unique<Wire>(levels[i]);
  PcTestdev device(memory, std::move(inputs));
  Bus ports, addresses;
  require(device.plug(ports, addresses));

  while (input.next_step()) {
    switch (input.take_below(6)) {
      case 0:
        access(input, ports, kPorts - kBeside, 0x20);
        break;
      case 1:
        access(input, addresses, kMemory - kBeside, kMemorySize);
        break;
      case 2:
        access(input, addresses, kMemory + kMemorySize - kBeside, 2 * kBeside);
        break;
      case 3: {
        const auto page = static_cast<uint32_t>(input.take_below(kPages + 1) * GuestMemory::kPageSize);
        ports.write(kPageLookup, std::as_bytes(std::span(&page, 1)));
        break;
      }
      case 4: {
        const size_t number = input.take_below(levels.size());
        const auto level = input.take<uint8_t>();
        ports.write(kLevels + number, std::as_bytes(std::span(&level, 1)));
        expected[number] = level != 0;
        break;
      }
      default: {  // wider than a level, or read
        std::array<std::byte, 8> data{};
        const auto wide = std::span(data).first(std::max<size_t>(2, input.take_width()));
        const uint64_t port = kLevels - kBeside + input.take_below(PcTestdev::kInputs + kBeside);
        if (input.take_bool()) {
          ports.read(port, wide);
          break;
        }
        ports.write(port, wide);
        if (port == kLevels + PcTestdev::kInputs - 1) expected.back() = false;  // a Bus cuts it to a byte
      }
    }
    require(levels == expected);
  }
  for (uint64_t page = 0; page < kPages; ++page) {
    require(memory.read<uint64_t>({page * GuestMemory::kPageSize}) == ~page);
  }
}
