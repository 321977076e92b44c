// What a test does where it may mount: on a thread whose mounts nobody else sees, and which end with it.
//
// Catch2 counts on one thread only, so results are brought out and checked there.
#pragma once

#include <sched.h>
#include <sys/mount.h>

#include <thread>

namespace vmm::test {

// False where mounting is not allowed (no root): nothing was done then.
template <typename Action>
bool with_own_mounts(Action action) {
  bool done = false;
  std::thread([&] {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return;
    done = action();
  }).join();
  return done;
}

}  // namespace vmm::test
