// Interrupt controllers' registers, as a person reads them.
#include "vmm/kvm/x86_64/interrupt_state.h"

#include <catch2/catch.hpp>

using namespace vmm;
using Catch::Matchers::Contains;

namespace {

kvm_ioapic_state masked_io_apic() {
  kvm_ioapic_state state{};
  for (auto& entry : state.redirtbl) entry.fields.mask = 1;
  return state;
}

}  // namespace

TEST_CASE("interrupts: an input of the IO-APIC tells where it leads and what waits", "[kvm][interrupts]") {
  kvm_ioapic_state state = masked_io_apic();
  state.redirtbl[4].fields.mask = 0;
  state.redirtbl[4].fields.vector = 0x24;
  state.redirtbl[4].fields.dest_id = 1;
  state.redirtbl[10].fields.trig_mode = 1;
  state.redirtbl[10].fields.remote_irr = 1;
  state.irr = 1 << 10;
  CHECK(describe_io_apic(state) ==
        "IO-APIC  4: vector 0x24 to APIC 1, fixed, edge, active high\n"
        "IO-APIC 10: vector 0x00 to APIC 0, fixed, level, active high, masked, requested, in service\n"
        "IO-APIC: 23 of 24 inputs are masked\n");
}

TEST_CASE("interrupts: the PIC's registers, by the number of their first input", "[kvm][interrupts]") {
  kvm_pic_state state{};
  state.irq_base = 0x38;
  state.imr = 0xff;
  state.irr = 2;
  CHECK(describe_pic(state, 8) == "PIC 8-15: vectors from 0x38, masked 0xff, requested 0x02, in service 0x00\n");
}

TEST_CASE("interrupts: the vectors of a local APIC", "[kvm][interrupts]") {
  kvm_lapic_state state{};
  CHECK(describe_local_apic(state) == "in service nothing; requested nothing");
  state.regs[0x100 + 7 * 16 + 1] = 0x10;  // 0xec
  state.regs[0x200 + 16] = 0x06;          // 0x21 and 0x22
  CHECK(describe_local_apic(state) == "in service 0xec; requested 0x21 0x22");
}
