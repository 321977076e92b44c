// KernelFile: an opened kernel of a kind that was recognised by its content, ready to be loaded, and loaded again.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "firmware/boot.h"
#include "firmware/boot_setup.h"
#include "firmware/byte_source.h"
#include "firmware/kernel_format.h"
#include "firmware/kernel_payload.h"
#include "firmware/platform.h"
#include "vmm/core/fd.h"
#include "vmm/core/guest_memory.h"

namespace vmm {

// An opened BootModule.
struct BootFile {
  UniqueFd fd;
  std::string text;
};

class KernelFile {
 public:
  // Throws Error when it cannot be opened, or naming what it is and what to pass instead. The file stays open, so
  // that a reboot loads the same one.
  static KernelFile open(const std::string& path);
  // A kernel in memory; the bytes must outlive it.
  static KernelFile from_bytes(std::span<const std::byte> bytes, std::string name);

  const KernelInfo& info() const { return format_->info(); }
  // What `uname -r` will say, as far as the file tells without being looked into (facts()); else empty.
  std::string release() const { return info().version; }
  const std::string& name() const { return name_; }

  // What a Linux kernel says of itself only when it is looked into, which takes a good part of a second. Throws Error
  // saying why nothing can be seen.
  KernelFacts facts() const { return format_->facts(*source_); }
  // What `vmm inspect` prints.
  Rows describe() const;

  // Puts kernel, initrd or modules (if any), command line and boot structures into guest memory, and says where the
  // first vCPU starts. Throws Error when they do not fit. ACPI and SMBIOS tables are written by write_acpi() and
  // write_smbios().
  KernelEntry load(const GuestMemory& memory, const Platform& platform, std::span<const BootFile> files) const;
  KernelEntry load_with(const GuestMemory& memory, const Platform& platform, std::span<const BootModule> modules) const;

 private:
  KernelFile(std::string name, UniqueFd fd, std::unique_ptr<ByteSource> source);

  std::string name_;
  UniqueFd fd_;
  std::unique_ptr<ByteSource> source_;
  std::unique_ptr<const KernelFormat> format_;
};

}  // namespace vmm
