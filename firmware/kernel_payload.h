// KernelFacts: what a Linux kernel can do before it has loaded a module, as its image tells.
//
// A bzImage carries the kernel proper, a compressed vmlinux ("payload_offset" and "payload_length" of
// Documentation/arch/x86/boot.rst). A kernel built with CONFIG_IKCONFIG holds its own configuration, which says exactly
// what is built in. In others the built-in code gives itself away by names that a module takes out of the image with
// it: "virtio_blk.queue_depth" is a parameter only of a virtio_blk that is built in.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "firmware/byte_source.h"
#include "firmware/bytes.h"
#include "firmware/segments.h"

namespace vmm {

struct KernelFacts {
  std::string release;                     // "6.1.0-56-cloud-amd64"
  std::optional<uint64_t> pvh_entry;       // guest-physical
  std::vector<std::string_view> built_in;  // of the drivers and file systems that a root file system may need
  bool from_config = false;                // told by its configuration, not by names
  bool takes_initrd = true;                // like the next, known from a configuration alone
  bool own_initramfs = false;

  bool has(std::string_view part) const;
};

// No kernel is larger, packed or not.
inline constexpr uint64_t kLargestKernel = 512 << 20;

// What a vmlinux tells. It is read in small pieces, and no more than the first 512 MiB of what would be loaded. Throws
// Error when it is no Linux kernel.
KernelFacts facts_of_vmlinux(const ByteSource& vmlinux);
// Facts of a kernel in another form, of which these parts would be loaded.
KernelFacts facts_of_code(const ByteSource& file, const std::vector<Segment>& segments);

// What `uname -r` will say, by the banner in these parts; empty when there is none.
std::string release_in(const ByteSource& file, const std::vector<Segment>& segments);

// Whether the kernel gets to a root file system on a virtio disk without an initrd, and why.
std::string needs_initrd(const KernelFacts& facts);

// Rows for `vmm inspect`.
std::vector<std::pair<std::string, std::string>> describe_facts(const KernelFacts& facts);

}  // namespace vmm
