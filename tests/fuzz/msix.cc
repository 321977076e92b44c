// The MSI-X table: any access, any mask, any vector.
#include "devices/pci/msix.h"

#include "tests/fuzz/fuzz_input.h"
#include "tests/support/fake_device_host.h"

namespace vmm::test {
namespace {

// Messages are counted, not kept.
class CountingHost : public FakeDeviceHost {
 public:
  void signal_msi(const MsiMessage&) override { ++count; }
  size_t count = 0;
};

struct Table {
  MsixTable& msix;
  void read(uint64_t offset, std::span<std::byte> data) { msix.read_table(offset, data); }
  void write(uint64_t offset, std::span<const std::byte> data) { msix.write_table(offset, data); }
};

}  // namespace

void fuzz(FuzzInput& input) {
  CountingHost host;
  MsixTable msix(host, 1 + input.take_below(130));
  Table table{msix};
  while (input.next_step()) {
    const size_t before = host.count;
    switch (input.take_below(4)) {
      case 0:
        msix.set_control(input.take_bool(), input.take_bool());
        require(host.count - before <= msix.size());
        break;
      case 1:
        access(input, table, 0, 0x2000);
        require(host.count - before <= 1);
        break;
      case 2: {
        std::array<std::byte, 8> data{};
        msix.read_pending(input.take<uint16_t>(), std::span(data).first(input.take_width()));
        break;
      }
      default:
        msix.trigger(input.take<uint16_t>());
        require(host.count - before <= 1);
    }
  }
}

}  // namespace vmm::test
