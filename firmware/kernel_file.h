// KernelFile: an opened kernel of a kind that was recognised by its content, ready to be loaded, and loaded again.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "firmware/boot.h"
#include "firmware/byte_source.h"
#include "firmware/bzimage.h"
#include "firmware/kernel_payload.h"
#include "firmware/platform.h"
#include "firmware/segments.h"
#include "vmm/core/fd.h"
#include "vmm/core/guest_memory.h"

namespace vmm {

class KernelFile {
 public:
  // Throws Error when it cannot be opened, or naming what it is and what to pass instead. The file stays open, so
  // that a reboot loads the same one.
  static KernelFile open(const std::string& path);
  // The same for bytes in memory, which must outlive it.
  static KernelFile from_bytes(std::span<const std::byte> bytes, std::string name);

  const KernelInfo& info() const;
  // What `uname -r` will say, as far as the file tells without being looked into (facts()); else empty.
  std::string release() const { return info().version; }
  const std::string& name() const { return name_; }

  // What a Linux kernel says of itself only when it is looked into, which takes a good part of a second. Throws Error
  // saying why nothing can be seen.
  KernelFacts facts() const;

  // Puts kernel, initrd (if any), command line and boot structures into guest memory, and says where the first vCPU
  // starts. Throws Error when they do not fit. ACPI and SMBIOS tables are written by write_acpi() and write_smbios().
  CpuEntry load(const GuestMemory& memory, const Platform& platform, const UniqueFd* initrd) const;
  CpuEntry load_with(const GuestMemory& memory, const Platform& platform, const ByteSource* initrd) const;

 private:
  KernelFile(std::string name, UniqueFd fd, std::unique_ptr<ByteSource> source);

  std::string name_;
  UniqueFd fd_;
  std::unique_ptr<ByteSource> source_;
  std::variant<BzImage, SegmentedKernel> kernel_;
};

// What `vmm inspect` prints: a label and its value in each row.
std::vector<std::pair<std::string, std::string>> describe(const KernelFile& kernel);

}  // namespace vmm
