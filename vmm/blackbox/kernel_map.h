// KernelMap: where a Linux kernel is, as its VMCOREINFO says: its image, its page tables, all of memory.
//
// The kernel's image is at a stretch in both kinds of addresses. How far apart they are is on arm64 kimage_voffset, on
// x86-64 what __START_KERNEL_map and phys_base make. See Documentation/admin-guide/kdump/vmcoreinfo.rst.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "vmm/blackbox/address_space.h"
#include "vmm/blackbox/cpu_state.h"
#include "vmm/blackbox/vmcoreinfo.h"
#include "vmm/core/guest_memory.h"

namespace vmm {

struct KernelMap {
  AddressSpace space;         // by the kernel's own page tables
  uint64_t image_offset = 0;  // from physical addresses of the image to virtual ones
  // The virtual address of physical address 0, where all of memory is mapped; not yet proven.
  std::optional<uint64_t> direct_map = {};
  uint64_t signature = 0;  // bits of an address that pointer authentication takes, which else are ones

  GuestAddress in_image(uint64_t address) const { return {address - image_offset}; }

  // Empty when it is of a kernel that is not understood.
  static std::optional<KernelMap> of(const PhysicalMemory& memory, const VmcoreInfo& info);

  // Whether page tables have `text`, an address of the image, where it is to be: the kernel's own, and those of a CPU,
  // which nobody but a kernel can set. (There may be no CPU that has any.)
  bool is_proven(const PhysicalMemory& memory, std::span<const CpuState> cpus, uint64_t text) const;
};

// Where Linux is linked to on x86: __START_KERNEL_map and the default CONFIG_PHYSICAL_START.
constexpr uint64_t kLinkedX86Image = 0xffffffff81000000;

// Where the image of an x86 kernel that has unpacked itself begins, by a CPU's page tables alone: nothing is mapped
// in front of it (__startup_64() and cleanup_highmap() see to that), and its beginning is aligned. Empty when they have
// nothing of it.
std::optional<uint64_t> mapped_x86_image(const AddressSpace& space);

}  // namespace vmm
