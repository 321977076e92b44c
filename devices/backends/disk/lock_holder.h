// Who holds locks on a file, for the message that says so.
//
// The kernel does not tell whose an OFD lock is (F_OFD_GETLK answers pid -1), so this looks at what other processes
// have open: /proc/PID/fd names files and /proc/PID/fdinfo their locks. It sees the processes of the same user, or all
// for root.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

namespace vmm {

struct LockHolder {
  pid_t pid = 0;
  std::string command;  // short and printable: "vmm --name ci-3"
};

// The first process found, other than through `fd` itself, that holds a lock on the file `fd` has open.
std::optional<LockHolder> find_lock_holder(int fd);

}  // namespace vmm
