// FakeIrqLine: a wire whose level is looked at, and whose rises are counted.
#pragma once

#include "devices/irq.h"

namespace vmm::test {

struct FakeIrqLine : IrqLine {
  void set(bool to) override {
    rises += to && !level ? 1 : 0;
    level = to;
  }

  bool level = false;
  unsigned rises = 0;
};

}  // namespace vmm::test
