// AcpiPm: the fixed power management registers that the FADT points to: power button, sleep, and the PM timer.
//
//   +0  PM1_STS  2 bytes   events that happened; writing a one clears it
//   +2  PM1_EN   2 bytes   which of them raise the SCI
//   +4  PM1_CNT  2 bytes   sleep; SCI_EN always reads as one: the machine is never in legacy mode
//   +8  PM_TMR   4 bytes   counts at 3.579545 MHz, 24 bits wide, as the FADT says (TMR_VAL_EXT clear)
//
// ACPI 6.4 §4.8.3 (registers) and §4.8.3.3 (timer). Sleep type 5 is S5, as the DSDT says in \_S5.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>

#include "devices/device.h"
#include "devices/irq.h"

namespace vmm {

class AcpiPm : public Device {
 public:
  static constexpr uint64_t kPorts = 12;
  static constexpr uint16_t kSleepTypeOff = 5;

  // `power_off` is called on the thread of the vCPU that asked for it. The SCI is level triggered.
  AcpiPm(IrqLine& sci, std::function<void()> power_off);

  void read(uint64_t offset, std::span<std::byte> data) override;
  void write(uint64_t offset, std::span<const std::byte> data) override;

  // Asks the guest to shut down. Any thread.
  void press_power_button();

 private:
  struct Registers;
  void update_sci();

  IrqLine& sci_;
  std::function<void()> power_off_;
  std::mutex mutex_;
  uint16_t status_ = 0;
  uint16_t enable_ = 0;
  uint16_t control_ = 0;
  bool off_requested_ = false;
};

}  // namespace vmm
