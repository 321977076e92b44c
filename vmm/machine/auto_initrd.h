// The initrd that vmm makes itself (--initrd auto): its own init, and the modules with which this kernel reaches its
// root file system and, for a command, vmm. See firmware/guest/init.c for what happens in it.
#pragma once

#include <string>
#include <vector>

#include "vmm/core/fd.h"
#include "vmm/machine/config.h"

namespace vmm {

// What a kernel needs to have, built in or as a module, for the machine that is configured.
struct WantedModules {
  std::vector<std::string> required;
  std::vector<std::string> helpful;  // left out without a word when there is none
};
WantedModules modules_for(const MachineConfig& config);

// The file systems on a disk image or device, whole or in partitions, by their superblocks, as Linux calls them. No
// more hangs on it than which modules are taken along.
std::vector<std::string> file_systems_on(const std::string& path);

// Whether this kernel has what its root takes (bus, disk, file system) as modules that we can find, which it cannot
// load from there; or whether the root is named in a way that the kernel does not know.
bool needs_initrd(const MachineConfig& config, const std::string& release);

// A memfd with the archive. `release` is the kernel's, as in `uname -r`; without a folder of modules for it everything
// is taken to be built in. Throws Error when a required module is missing.
UniqueFd make_initrd(const MachineConfig& config, const std::string& release);

}  // namespace vmm
