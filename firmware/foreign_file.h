// Files that are no kernel for this machine: saying what they are, and what to pass instead.
#pragma once

#include "firmware/byte_source.h"
#include "vmm/core/error.h"

namespace vmm {

// For a file that no loader knows: "no 'HdrS' at 0x202, not ELF (first bytes: 'CD001' ISO image)", and the fix.
Error refuse_foreign_file(const ByteSource& file);

}  // namespace vmm
