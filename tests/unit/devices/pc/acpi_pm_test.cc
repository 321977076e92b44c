// Power button, sleep and timer, as ACPI drivers and hostile guests use them.
#include "devices/pc/acpi_pm.h"

#include <array>
#include <catch2/catch.hpp>
#include <thread>

#include "tests/support/fake_irq_line.h"
#include "tests/support/port_access.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint64_t kStatus = 0, kEnable = 2, kControl = 4, kTimer = 8;
constexpr uint16_t kPowerButton = 1 << 8, kGlobalLock = 1 << 5, kSciEnabled = 1, kSleep = 1 << 13;
constexpr uint16_t sleep_type(unsigned type) { return static_cast<uint16_t>(type << 10); }

struct Fixture {
  FakeIrqLine sci;
  unsigned power_offs = 0;
  AcpiPm pm{sci, [this] { ++power_offs; }};
};

}  // namespace

TEST_CASE("acpi pm: the power button raises the SCI until its status is cleared", "[acpi]") {
  Fixture f;
  write_port<uint16_t>(f.pm, kEnable, kPowerButton);
  CHECK_FALSE(f.sci.level);
  f.pm.press_power_button();
  CHECK(f.sci.level);
  CHECK(read_port<uint16_t>(f.pm, kStatus) == kPowerButton);
  write_port<uint16_t>(f.pm, kStatus, kPowerButton);
  CHECK_FALSE(f.sci.level);
  CHECK(read_port<uint16_t>(f.pm, kStatus) == 0);
}

TEST_CASE("acpi pm: a press that came first is told when the driver enables the button", "[acpi]") {
  Fixture f;
  f.pm.press_power_button();
  CHECK_FALSE(f.sci.level);
  write_port<uint16_t>(f.pm, kEnable, kPowerButton);
  CHECK(f.sci.level);
}

TEST_CASE("acpi pm: writing zeros clears no status, and events that do not exist cannot be enabled", "[acpi]") {
  Fixture f;
  f.pm.press_power_button();
  write_port<uint16_t>(f.pm, kStatus, 0);
  CHECK(read_port<uint16_t>(f.pm, kStatus) == kPowerButton);
  write_port<uint16_t>(f.pm, kEnable, 0xffff);
  CHECK((read_port<uint16_t>(f.pm, kEnable) & (kPowerButton | kGlobalLock)) == (kPowerButton | kGlobalLock));
  CHECK((read_port<uint16_t>(f.pm, kEnable) & 1) == 0);  // the timer's carry
}

TEST_CASE("acpi pm: sleeping in S5 turns the power off", "[acpi]") {
  Fixture f;
  write_port<uint16_t>(f.pm, kControl, sleep_type(5));
  CHECK(f.power_offs == 0);
  write_port<uint16_t>(f.pm, kControl, sleep_type(5) | kSleep);
  CHECK(f.power_offs == 1);
  CHECK(read_port<uint16_t>(f.pm, kControl) == (sleep_type(5) | kSciEnabled));
}

TEST_CASE("acpi pm: other sleep types do nothing", "[acpi]") {
  const unsigned type = GENERATE(0u, 1u, 3u, 4u, 6u, 7u);
  Fixture f;
  write_port<uint16_t>(f.pm, kControl, static_cast<uint16_t>(sleep_type(type) | kSleep));
  CHECK(f.power_offs == 0);
}

TEST_CASE("acpi pm: the timer runs at 3.58 MHz, in 24 bits as the FADT says, and takes no write", "[acpi]") {
  Fixture f;
  const auto before = read_port<uint32_t>(f.pm, kTimer);
  write_port<uint32_t>(f.pm, kTimer, 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  const auto after = read_port<uint32_t>(f.pm, kTimer);
  CHECK(before <= 0xffffff);
  CHECK(after <= 0xffffff);
  CHECK(((after - before) & 0xffffff) >= 7000);
}

TEST_CASE("acpi pm: every width at every offset is answered and kept within its range", "[acpi]") {
  Fixture f;
  const auto offset = GENERATE(range(0, 12));
  const auto width = GENERATE(range(1, 9));
  std::array<std::byte, 8> bytes = {};
  bytes.fill(std::byte{0xff});
  const auto data = std::span(bytes).first(static_cast<size_t>(width));
  f.pm.write(static_cast<uint64_t>(offset), data);
  f.pm.read(static_cast<uint64_t>(offset), data);
  CHECK(f.power_offs == 0);  // all ones is sleep type 7
  CHECK(read_port<uint16_t>(f.pm, 6) == 0);
}

TEST_CASE("acpi pm: a part of a register is read as that, and written is ignored", "[acpi]") {
  Fixture f;
  f.pm.press_power_button();
  CHECK(read_port<uint8_t>(f.pm, kStatus + 1) == kPowerButton >> 8);
  write_port<uint8_t>(f.pm, kControl + 1, (sleep_type(5) | kSleep) >> 8);
  CHECK(f.power_offs == 0);
}

TEST_CASE("acpi pm: one wide write reaches status and enable", "[acpi]") {
  Fixture f;
  f.pm.press_power_button();
  write_port<uint32_t>(f.pm, kStatus, uint32_t{kPowerButton} << 16 | kPowerButton);
  CHECK(read_port<uint32_t>(f.pm, kStatus) == uint32_t{kPowerButton} << 16);
}
