// VMCOREINFO: the note a Linux kernel writes for whoever reads its memory after a crash: where its symbols are, how
// large its structures are, how far KASLR moved it. See Documentation/admin-guide/kdump/vmcoreinfo.rst.
//
// It is lines of KEY=VALUE in one page, which begins either with the text (vmcoreinfo_data) or with an ELF note around
// it (vmcoreinfo_note). The kernel makes it whether or not a crash kernel is loaded, at the time of its
// subsys_initcall()s. Anybody in the guest may have a copy or a forgery of it in a page of their own, so what the text
// says is for the finder's caller to test.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/core/guest_memory.h"

namespace vmm {

class VmcoreInfo {
 public:
  // Empty when the text does not begin as one does.
  static std::optional<VmcoreInfo> parse(std::string_view text);

  // All of it, as it was.
  const std::string& text() const { return text_; }
  std::string release() const;                                  // "6.1.0-18-cloud-amd64"
  std::string build_id() const;                                 // in hexadecimal digits; before Linux 5.9 empty
  std::optional<uint64_t> symbol(std::string_view name) const;  // SYMBOL(name): its virtual address
  std::vector<uint64_t> symbols() const;                        // all of them
  std::optional<uint64_t> size(std::string_view name) const;    // SIZE(struct)
  std::optional<uint64_t> offset(std::string_view name) const;  // OFFSET(struct.member)
  std::optional<int64_t> number(std::string_view name) const;   // NUMBER(name), decimal, or with 0x
  std::optional<uint64_t> page_size() const;                    // PAGESIZE
  std::optional<uint64_t> kernel_offset() const;                // KERNELOFFSET: what KASLR added

 private:
  std::string line(std::string_view key) const;
  std::optional<uint64_t> value(std::string_view kind, std::string_view name, int base) const;

  std::string text_;
  std::map<std::string, std::string, std::less<>> lines_;
};

// Shows `accept` every page of memory that may be one, until it says yes. Bounded: hostile memory may hold many.
bool find_vmcoreinfo(const PhysicalMemory& memory, const std::function<bool(const VmcoreInfo&)>& accept);

}  // namespace vmm
