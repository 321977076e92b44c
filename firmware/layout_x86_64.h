// Where the firmware places things in the guest's memory on x86-64.
//
//       0 ┬──── real-mode vectors, which lead to 0xfe000 ────────────────────────────────
//         │ all is the guest's: trampolines, and kernels that are linked to low addresses
//   0x400 ├ BIOS data area: two fields of it, for whoever looks
// 0x80000 ├──── ours from here to 1 MiB: no kernel is loaded there ────
//         │ command line, 64 KiB with its NUL
// 0x90000 ├ GDT
// 0x91000 ├ Linux zero page | PVH start info | Multiboot information   (one kernel, one of them)
// 0x92000 ├ their lists: memory map, modules
// 0x93000 ├ page tables: PML4, PDPT, four page directories map the first 4 GiB one to one
// 0x99000 ├ free
// 0x9fc00 ├──── reserved in the memory map from here, as in every PC ────
// 0xe0000 ├ ACPI: RSDP first (guests search for it from here), then the tables
// 0xf0000 ├ SMBIOS: entry points (guests search for them from here), then the structures
// 0xfe000 ├ the BIOS: two handlers of a few bytes
// 0xff000 ├ VM generation id, alone in its page
//   1 MiB ├──── RAM again ────
//         │ kernel, where it asks to be
//         │ Multiboot module: the first page after the kernel
//         │ initrd of Linux: as high as the kernel allows, below the end of low RAM
//         ┴ end of low RAM (below the 32-bit hole), then high RAM from 4 GiB on
#pragma once

#include <cstdint>

#include "vmm/core/guest_memory.h"

namespace vmm {

inline constexpr uint64_t kPageSize = 0x1000;
inline constexpr uint64_t kOneMiB = 1ull << 20;
inline constexpr uint64_t kFourGiB = 1ull << 32;

inline constexpr GuestAddress kBiosDataArea{0x400};
inline constexpr GuestAddress kCommandLine{0x80000};
inline constexpr uint64_t kCommandLineArea = 0x10000;
inline constexpr GuestAddress kGdt{0x90000};
inline constexpr GuestAddress kBootInfo{0x91000};
inline constexpr GuestAddress kBootLists{0x92000};
inline constexpr GuestAddress kPageTables{0x93000};
inline constexpr GuestAddress kFirmwareStart = kCommandLine;  // of what is ours, up to 1 MiB

inline constexpr GuestAddress kReservedStart{0x9fc00};
inline constexpr GuestMemory::Range kAcpiArea{{0xe0000}, 0x10000};
inline constexpr GuestMemory::Range kSmbiosArea{{0xf0000}, 0xe000};
inline constexpr GuestAddress kBiosCode{0xfe000};
inline constexpr GuestAddress kVmGenerationId{0xff000};

}  // namespace vmm
