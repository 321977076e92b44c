// The PM1 block and the PM timer; see acpi_pm.h.
#include "devices/pc/acpi_pm.h"

#include <array>
#include <chrono>
#include <utility>

#include "devices/register_map.h"

namespace vmm {

namespace {

enum : uint16_t {  // ACPI 6.4 tables 4.11 to 4.13
  GBL_STS = 1 << 5,
  PWRBTN_STS = 1 << 8,
  RTC_STS = 1 << 10,  // never set: the clock interrupts by its own wire, but drivers arm it
  SCI_EN = 1 << 0,
  SLP_EN = 1 << 13,
};
constexpr uint16_t kEvents = GBL_STS | PWRBTN_STS | RTC_STS;  // their enable bits have the same places
constexpr unsigned kSleepTypeShift = 10;
constexpr uint16_t kSleepTypeMask = 7 << kSleepTypeShift;

uint64_t timer_ticks() {
  constexpr uint64_t kFrequency = 3'579'545;
  constexpr uint64_t kTimerMask = 0xffffff;
  constexpr uint64_t kSecond = 1'000'000'000;
  const auto now =
      static_cast<uint64_t>(std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count());
  return (now / kSecond * kFrequency + now % kSecond * kFrequency / kSecond) & kTimerMask;
}

}  // namespace

struct AcpiPm::Registers {
  static uint64_t status(AcpiPm& pm) { return pm.status_; }
  static void clear_status(AcpiPm& pm, uint64_t value) { pm.status_ &= static_cast<uint16_t>(~value); }
  static uint64_t enable(AcpiPm& pm) { return pm.enable_; }
  static void set_enable(AcpiPm& pm, uint64_t value) { pm.enable_ = value & kEvents; }
  static uint64_t control(AcpiPm& pm) { return pm.control_ | SCI_EN; }
  static void set_control(AcpiPm& pm, uint64_t value) {
    pm.control_ = value & kSleepTypeMask;
    const bool sleeps = (value & SLP_EN) != 0;
    if (sleeps && pm.control_ >> kSleepTypeShift == kSleepTypeOff) pm.off_requested_ = true;
  }
  static uint64_t timer(AcpiPm&) { return timer_ticks(); }

  static constexpr std::array<Register<AcpiPm>, 4> kMap = {{
      {0, 2, status, clear_status},
      {2, 2, enable, set_enable},
      {4, 2, control, set_control},
      {8, 4, timer},
  }};
};

AcpiPm::AcpiPm(IrqLine& sci, std::function<void()> power_off) : sci_(sci), power_off_(std::move(power_off)) {}

void AcpiPm::read(uint64_t offset, std::span<std::byte> data) {
  const std::lock_guard lock(mutex_);
  read_registers<AcpiPm>(Registers::kMap, *this, offset, data);
}

void AcpiPm::write(uint64_t offset, std::span<const std::byte> data) {
  bool off = false;
  {
    const std::lock_guard lock(mutex_);
    write_registers<AcpiPm>(Registers::kMap, *this, offset, data);
    update_sci();
    off = std::exchange(off_requested_, false);
  }
  if (off) power_off_();
}

void AcpiPm::press_power_button() {
  const std::lock_guard lock(mutex_);
  status_ |= PWRBTN_STS;
  update_sci();
}

// Called with the mutex held, so that levels reach the wire in order.
void AcpiPm::update_sci() { sci_.set((status_ & enable_) != 0); }

}  // namespace vmm
