// The kernel log, read out of the ring in which printk keeps it: kernel/printk/printk_ringbuffer.h, Linux 5.10 and
// later.
//
// Descriptors, numbered by ever growing IDs, say which part of a ring of text is theirs, and whether they are complete.
// The IDs from tail to head are those in the log. Where the members are is what VMCOREINFO says, but for the facility
// and the level, which it does not name: two bytes after text_len, and in the byte behind, which it shares with flags.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vmm/blackbox/address_space.h"
#include "vmm/blackbox/vmcoreinfo.h"

namespace vmm {

struct LogLine {
  uint64_t nanoseconds = 0;
  unsigned level = 0;  // 0 emergency .. 7 debug
  std::string text;    // printable

  // "[    1.234567] text", as the kernel writes it to its consoles.
  std::string format() const;
};

struct KernelLog {
  std::vector<LogLine> lines;  // the oldest first; a record of several lines is several here
  std::string trouble;         // why there are none, or not all; empty when it was read
  bool whole = false;          // its first record is still there
  bool by_programs = false;    // some of it was written to /dev/kmsg
};

KernelLog read_kernel_log(const AddressSpace& kernel, const VmcoreInfo& info);

}  // namespace vmm
