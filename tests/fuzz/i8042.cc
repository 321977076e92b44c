// The keyboard controller.
#include "devices/pc/i8042.h"

#include "tests/fuzz/fuzz_input.h"

void vmm::test::fuzz(FuzzInput& input) {
  I8042 controller([] {});
  while (input.next_step()) access(input, controller, 0, I8042::kPorts);
}
