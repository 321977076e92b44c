// What of the PCI transport can be reached, and from where: registers, doorbells, the BAR and the windows onto it.
#include "devices/virtio/virtio_pci.h"

#include <linux/pci_regs.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <future>

#include "tests/support/virtio_pci_fixture.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint32_t kBar = TransportDriver::kBar;
constexpr uint64_t kNotify = TransportDriver::kNotify;

}  // namespace

TEST_CASE("virtio-pci: registers of a queue that is not there read as zero and take no write", "[virtio][pci]") {
  VirtioPciFixture f;
  f.write<uint16_t>(VIRTIO_PCI_COMMON_Q_SELECT, 0xffff);
  f.write<uint16_t>(VIRTIO_PCI_COMMON_Q_SIZE, 4);
  f.write<uint64_t>(VIRTIO_PCI_COMMON_Q_DESCLO, 0x1000);
  CHECK(f.read<uint16_t>(VIRTIO_PCI_COMMON_Q_SIZE) == 0);
  CHECK(f.read<uint16_t>(VIRTIO_PCI_COMMON_Q_MSIX) == VIRTIO_MSI_NO_VECTOR);
  CHECK(f.read<uint64_t>(VIRTIO_PCI_COMMON_Q_DESCLO) == 0);
}

TEST_CASE("virtio-pci: configuration accesses at and beyond its end are bounded", "[virtio][pci]") {
  VirtioPciFixture f(std::make_unique<SlowVirtioDevice>());
  CHECK(f.read<uint64_t>(0x2000) == 0x0706050403020100);
  CHECK(f.read<uint32_t>(0x2006) == 0x0706);
  CHECK(f.read<uint32_t>(0x2008) == 0);
  f.write<uint64_t>(0x2ffc, ~uint64_t{0});
}

TEST_CASE("virtio-pci: a kick for a queue that is not there does nothing", "[virtio][pci]") {
  VirtioPciFixture f;
  f.drive();
  f.write<uint32_t>(kNotify + 0xffc, 0xffff);
  f.write<uint16_t>(kNotify + 4, 1);
  CHECK(f.host.loop().run_ready() == 0);
}

TEST_CASE("virtio-pci: with memory decoding off the device neither answers nor is kicked", "[virtio][pci]") {
  VirtioPciFixture f;
  f.drive();
  const uint16_t off = PCI_COMMAND_MASTER;
  f.transport->write_config(PCI_COMMAND, std::as_bytes(std::span(&off, 1)));
  CHECK(f.read<uint32_t>(VIRTIO_PCI_COMMON_STATUS) == 0xffffffff);
  const uint16_t on = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
  f.transport->write_config(PCI_COMMAND, std::as_bytes(std::span(&on, 1)));
  f.submit();
  CHECK(f.used_index() == 1);
}

TEST_CASE("virtio-pci: the window in configuration space reads the BAR", "[virtio][pci]") {
  VirtioPciFixture f(std::make_unique<SlowVirtioDevice>());
  const uint64_t at = f.capability(PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_PCI_CFG);
  f.set_config<uint32_t>(at + VIRTIO_PCI_CAP_OFFSET, 0x2004);
  f.set_config<uint32_t>(at + VIRTIO_PCI_CAP_LENGTH, 4);
  CHECK(f.config<uint32_t>(at + 16) == 0x07060504);
}

TEST_CASE("virtio-pci: a window wider than its field moves nothing", "[virtio][pci]") {
  VirtioPciFixture f;
  const uint64_t at = f.capability(PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_PCI_CFG);
  f.set_config<uint32_t>(at + VIRTIO_PCI_CAP_OFFSET, VIRTIO_PCI_COMMON_DFSELECT);
  f.set_config<uint32_t>(at + VIRTIO_PCI_CAP_LENGTH, 8);
  f.set_config<uint64_t>(at + 16, 1);
  CHECK(f.read<uint32_t>(VIRTIO_PCI_COMMON_DFSELECT) == 0);
}

TEST_CASE("virtio-pci: any window onto any place moves only what lies in the BAR", "[virtio][pci]") {
  VirtioPciFixture f;
  const uint64_t at = f.capability(PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_PCI_CFG);
  const uint32_t offset = GENERATE(0u, 0xfffu, 0x2fffu, 0x7fffu, 0x8000u, 0xfffffffcu);
  const uint32_t length = GENERATE(0u, 1u, 2u, 3u, 4u, 8u, 0xffffffffu);
  const uint8_t bar = GENERATE(uint8_t{0}, uint8_t{1}, uint8_t{0xff});
  f.set_config(at + VIRTIO_PCI_CAP_BAR, bar);
  f.set_config(at + VIRTIO_PCI_CAP_OFFSET, offset);
  f.set_config(at + VIRTIO_PCI_CAP_LENGTH, length);
  std::array<std::byte, 8> data = {};
  for (size_t width = 1; width <= data.size(); ++width) {
    f.transport->read_config(at + 16, std::span(data).first(width));
    f.transport->write_config(at + 16, std::span(data).first(width));
  }
  CHECK(f.status() == 0);
}

TEST_CASE("virtio-pci: the capability list is well formed and says where everything lies", "[virtio][pci]") {
  VirtioPciFixture f(std::make_unique<SlowVirtioDevice>());
  std::vector<std::pair<int, int>> found;  // id and, for vendor capabilities, the structure
  std::vector<uint64_t> places;
  for (uint64_t at = f.config<uint8_t>(PCI_CAPABILITY_LIST); at != 0; at = f.config<uint8_t>(at + PCI_CAP_LIST_NEXT)) {
    REQUIRE(at % 4 == 0);
    REQUIRE(at >= 0x40);
    REQUIRE(at < PciDevice::kConfigSize);
    REQUIRE(std::count(places.begin(), places.end(), at) == 0);
    places.push_back(at);
    const int id = f.config<uint8_t>(at);
    found.emplace_back(id, id == PCI_CAP_ID_VNDR ? f.config<uint8_t>(at + VIRTIO_PCI_CAP_CFG_TYPE) : 0);
    CHECK(f.config<uint8_t>(at + VIRTIO_PCI_CAP_BAR) % 8 == 0);  // also the table's indicator
  }
  CHECK(found == std::vector<std::pair<int, int>>{{PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_COMMON_CFG},
                                                  {PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_ISR_CFG},
                                                  {PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_DEVICE_CFG},
                                                  {PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_NOTIFY_CFG},
                                                  {PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_PCI_CFG},
                                                  {PCI_CAP_ID_MSIX, 0}});
  CHECK((f.config<uint16_t>(PCI_STATUS) & PCI_STATUS_CAP_LIST) != 0);
}

TEST_CASE("virtio-pci: doorbells follow the BAR, and are gone while it is not decoded", "[virtio][pci]") {
  VirtioPciFixture f;
  f.drive();
  CHECK(f.host.doorbells == std::vector<GuestAddress>{{kBar + kNotify}});
  f.set_config<uint16_t>(PCI_COMMAND, PCI_COMMAND_MASTER);
  CHECK(f.host.doorbells.empty());
  f.set_config<uint32_t>(PCI_BASE_ADDRESS_0, 0xffffffff);
  f.set_config<uint32_t>(PCI_BASE_ADDRESS_0, kBar + 0x8000);
  f.set_config<uint16_t>(PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
  CHECK(f.host.doorbells == std::vector<GuestAddress>{{kBar + 0x8000 + kNotify}});
  f.bus.write(kBar + 0x8000 + VIRTIO_PCI_COMMON_STATUS, std::array{std::byte{0}});
  f.host.loop().run_ready();
  CHECK(f.host.doorbells.empty());
}

TEST_CASE("virtio-pci: an interrupt does not wait for a BAR on its way", "[virtio][pci]") {
  VirtioPciFixture f;
  if (GENERATE(false, true)) f.enable_msix();
  f.drive();
  bool interrupted = false;
  std::future<void> interrupt;
  f.host.on_doorbell = [&] {
    interrupt = std::async(std::launch::async, [&] { f.transport->device().change_config([] {}); });
    interrupted = interrupt.wait_for(std::chrono::seconds(2)) == std::future_status::ready;
  };
  f.set_config<uint32_t>(PCI_BASE_ADDRESS_0, kBar + 0x8000);
  CHECK(interrupted);
}

TEST_CASE("virtio-pci: every width at every offset of the BAR is answered", "[virtio][pci]") {
  VirtioPciFixture f(std::make_unique<SlowVirtioDevice>());
  std::array<std::byte, 8> data = {};
  for (uint64_t offset = 0; offset < f.transport->bar_size(); ++offset) {
    for (size_t width = 1; width <= data.size(); ++width) {
      data.fill(std::byte{0xff});
      f.transport->write(offset, std::span(data).first(width));
      f.transport->read(offset, std::span(data).first(width));
    }
  }
  f.host.loop().run_ready();
  f.set_status(0);
  f.host.loop().run_ready();
  CHECK(f.status() == 0);
}
