// Files that are no kernel for this machine: saying what they are, and what to pass instead.
#pragma once

#include <string_view>

#include "firmware/byte_source.h"
#include "vmm/core/error.h"

namespace vmm {

// What a machine of this architecture would have taken.
struct WantedKernel {
  std::string_view missing;  // in the file: "no 'HdrS' at 0x202, not ELF"
  std::string_view pass;     // instead: "pass an x86-64 bzImage or vmlinux"
};

// The refusal of a file that no loader knows: "no 'HdrS' at 0x202, not ELF (first bytes: 'CD001' ISO image)", and the
// fix.
Error refuse_foreign_file(const ByteSource& file, const WantedKernel& wanted);

}  // namespace vmm
