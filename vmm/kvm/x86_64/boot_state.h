// The registers in which a CPU starts, and the MSRs that firmware would have set.
#pragma once

#include <cstdint>

#include "vmm/kvm/vcpu.h"

namespace vmm {

struct BootState {
  bool long_mode = false;  // 64-bit code with paging, or flat 32-bit protected mode without
  uint64_t rip = 0, rax = 0, rbx = 0, rsi = 0, rsp = 0;
  uint64_t page_tables = 0;  // CR3, for long mode
  uint64_t gdt = 0;          // flat code at selector 0x10, flat data at 0x18, a TSS at 0x20
  uint16_t gdt_limit = 0;
};

// The interrupt table is the one of real mode, as a BIOS leaves it: kernels that go back there may rely on that.
void set_boot_state(const Vcpu& vcpu, const BootState& state);

// What firmware leaves behind on every CPU: memory types, fast strings, and on the first CPU the wires of the local
// APIC (virtual wire mode). MSRs that the host does not know are left out.
void set_firmware_state(const Vcpu& vcpu);

}  // namespace vmm
