// The thread's ids and capabilities; see caller.h. man 7 credentials, man 7 capabilities.
#include "devices/backends/share/caller.h"

#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>

#include "devices/backends/share/fuse_message.h"

namespace vmm {

namespace {

constexpr uint64_t bit(int capability) { return uint64_t{1} << capability; }

// Files of everybody, and those that are given to them; trusted.* attributes.
constexpr uint64_t kNeeded = bit(CAP_CHOWN) | bit(CAP_DAC_OVERRIDE) | bit(CAP_DAC_READ_SEARCH) | bit(CAP_FOWNER) |
                             bit(CAP_SETUID) | bit(CAP_SETGID) | bit(CAP_SETFCAP) | bit(CAP_SYS_ADMIN);

struct Sets {
  uint64_t permitted = 0;
  uint64_t effective = 0;
};

Sets get() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, 2> data{};
  if (::syscall(SYS_capget, &header, data.data()) != 0) return {};
  return {.permitted = data[0].permitted | uint64_t{data[1].permitted} << 32,
          .effective = data[0].effective | uint64_t{data[1].effective} << 32};
}

void set(const Sets& sets) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  const auto low = [](uint64_t value) { return static_cast<uint32_t>(value); };
  const std::array<__user_cap_data_struct, 2> data{{
      {.effective = low(sets.effective), .permitted = low(sets.permitted), .inheritable = 0},
      {.effective = low(sets.effective >> 32), .permitted = low(sets.permitted >> 32), .inheritable = 0},
  }};
  ::syscall(SYS_capset, &header, data.data());
}

void keep(uint64_t wanted) {
  const Sets now = get();
  if ((now.permitted & ~wanted) == 0) return;
  set({.permitted = now.permitted & wanted, .effective = now.effective & wanted});
}

int current_user() { return ::setfsuid(static_cast<uid_t>(-1)); }
int current_group() { return ::setfsgid(static_cast<gid_t>(-1)); }

}  // namespace

Caller::Caller(uid_t user, gid_t group, Rights rights)
    : user_(current_user()), group_(current_group()), dumpable_(::prctl(PR_GET_DUMPABLE)) {
  ::setfsgid(group);
  ::setfsuid(user);
  if (current_user() != static_cast<int>(user) || current_group() != static_cast<int>(group)) {
    restore();
    throw Refused{EPERM};
  }
  // Whoever is not root any more has lost the capabilities on files.
  if (rights == Rights::kChecked) set({.permitted = get().permitted, .effective = get().permitted});
}

Caller::~Caller() { restore(); }

void Caller::restore() const {
  const int error = errno;
  ::setfsuid(static_cast<uid_t>(user_));
  ::setfsgid(static_cast<gid_t>(group_));
  // A change of ids forbids core dumps of the process, which has no more secrets than before.
  if (dumpable_ == 1) ::prctl(PR_SET_DUMPABLE, 1);
  errno = error;
}

void drop_set_id_capability() { keep(~bit(CAP_FSETID)); }
void drop_needless_capabilities() { keep(kNeeded); }

}  // namespace vmm
