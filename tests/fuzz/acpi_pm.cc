// The fixed power management registers, and a button that is pressed now and then.
#include "devices/pc/acpi_pm.h"

#include "tests/fuzz/fake_ends.h"
#include "tests/fuzz/fuzz_input.h"

void vmm::test::fuzz(FuzzInput& input) {
  LooseWire sci;
  AcpiPm pm(sci, [] {});
  while (input.next_step()) {
    if (input.take_below(8) == 0) pm.press_power_button();
    access(input, pm, 0, AcpiPm::kPorts);
  }
}
