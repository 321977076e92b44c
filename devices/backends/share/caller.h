// Caller: with whose rights the thread of a share makes system calls, when vmm is run by root.
//
// The thread gives up what no share needs. CAP_FSETID above all: without it the host's kernel takes set-user-ID from a
// file that is written, as it does for a user who is not root. What a guest's user makes, it makes with that user's
// ids, so that it belongs to him from the first moment on, and a directory's default ACL has its effect.
//
// All of this is a thread's own: Linux keeps credentials by thread, and only the C library's setuid() and the like
// spread them.
#pragma once

#include <sys/types.h>

namespace vmm {

// Makes system calls as a user of the guest's for as long as it lives. Throws Refused (fuse_message.h) where that
// cannot be.
class Caller {
 public:
  enum class Rights {
    kHisOwn,   // as far as his ids go: where the guest's kernel could not tell whether he may
    kChecked,  // those of root on files: the guest's kernel has looked, and knows of groups that we do not
  };

  Caller(uid_t user, gid_t group, Rights rights);
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;
  ~Caller();

 private:
  void restore() const;

  int user_;  // whose they were before
  int group_;
  int dumpable_;
};

// This thread's power to keep set-user-ID on what it writes is gone for good.
void drop_set_id_capability();
// And so are all capabilities that sharing a directory does not take.
void drop_needless_capabilities();

}  // namespace vmm
