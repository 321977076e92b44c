// Flags that people type from habit, and flags of ours that are not built yet.
#pragma once

#include <string_view>

#include "vmm/core/error.h"

namespace vmm {

// The refusal of a flag or verb that the command line does not know.
Error refuse_flag(std::string_view flag);
Error refuse_verb(std::string_view verb);

}  // namespace vmm
