// The table of x86-64, without a vCPU: for tests.
#pragma once

#include "vmm/control/gdb/gdb_registers.h"
#include "vmm/kvm/x86_64/cpu_registers.h"

namespace vmm {

GdbRegisters gdb_registers(bool has_avx);
// Both ways between the registers and their bytes.
RegisterFile file_of(const CpuRegisters& registers);
CpuRegisters registers_of(const RegisterFile& file);

}  // namespace vmm
