// The interrupt controllers that KVM has in the kernel, as lines for a person: what each input leads to, and what
// waits. See the data sheets of the 82093AA (I/O APIC) and the 8259A (PIC), and Intel SDM 3A, chapter 11, for the local
// APIC.
#pragma once

#include <string>

#include "vmm/kvm/vcpu.h"
#include "vmm/kvm/vm.h"

namespace vmm {

// An input each, where it is not masked or something waits at it; then how many are masked.
std::string describe_io_apic(const kvm_ioapic_state& state);
// `first` is the number of its first input.
std::string describe_pic(const kvm_pic_state& state, unsigned first);
// "in service 0xec; requested 0x22 0xfb": vectors.
std::string describe_local_apic(const kvm_lapic_state& state);

// All of the virtual machine's, without the local APICs.
std::string describe_interrupt_controllers(const Vm& vm);
// At rest. Empty when KVM does not tell.
std::string describe_local_apic(const Vcpu& vcpu);

}  // namespace vmm
