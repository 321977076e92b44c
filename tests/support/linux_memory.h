// LinuxMemory: guest memory as a Linux kernel leaves it, in small: page tables, VMCOREINFO, a log, symbols, unwind
// tables and a stack. A test describes the kernel, calls write(), and may then spoil what it likes. One of arm64 has
// its image at the same addresses, and the map of all memory besides.
//
// The image is 2 MiB, at kImage in virtual and kPhysical in physical addresses; what is where in it is in Place.
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/blackbox/address_space.h"
#include "vmm/blackbox/cpu_state.h"
#include "vmm/blackbox/kernel_map.h"
#include "vmm/blackbox/vmcoreinfo.h"
#include "vmm/core/guest_memory.h"

namespace vmm::test {

class LinuxMemory {
 public:
  enum class Machine { kX86, kArm64 };
  static constexpr uint64_t kMap = 0xffffffff80000000;
  static constexpr uint64_t kImage = kMap + 0x1400000;  // KASLR moved it by 4 MiB
  static constexpr uint64_t kPhysical = 0x600000;
  static constexpr uint64_t kRam = 0x1000000;
  static constexpr uint64_t kArm64DirectMap = 0xffff000000000000;
  static constexpr uint64_t kArm64Signature = 0xffff000000000000;  // with addresses of 48 bits
  enum Place : uint64_t {
    kTables = 0x1000,
    kInfo = 0x4000,
    kNames = 0x5000,
    kLogPointer = 0x6000,
    kLog = 0x6040,
    kDescriptors = 0x8000,
    kInfos = 0xa000,
    kText = 0x10000,
    kOffsets = 0x20000,
    kBase = 0x20f00,
    kCount = 0x20f08,
    kSymbolNames = 0x21000,
    kTokens = 0x22000,
    kTokenIndex = 0x23000,
    kOrcAddresses = 0x30000,
    kOrcEntries = 0x31000,
    kStack = 0x40000,
    kStackEnd = 0x44000,
    kInitTask = 0x50000,
    kFirstTask = 0x54000,
    kPerCpu = 0x58000,
    kCode = 0x100000,
    kCodeEnd = 0x180000,
  };
  static constexpr uint64_t kLogSize = 1024;
  static constexpr uint32_t kLogCountBits = 5;
  static constexpr uint64_t kPid = 0x9c0;      // in a task
  static constexpr uint64_t kCurrent = 0x140;  // among the per-CPU variables
  static constexpr uint64_t kDescriptorSize = 24, kInfoSize = 88;

  struct Symbol {
    char type;
    std::string name;
    uint64_t address;
  };
  struct Orc {
    uint64_t address;
    int16_t sp_offset;
    int16_t bp_offset;
    uint16_t kinds;
  };

  explicit LinuxMemory(Machine of = Machine::kX86) : memory(std::array{GuestMemory::Range{{0}, kRam}}), machine(of) {
    info = {{"OSRELEASE", release},
            {"PAGESIZE", "4096"},
            {"OFFSET(uts_namespace.name)", "4"},
            {"KERNELOFFSET", "400000"},
            {"OFFSET(printk_ringbuffer.desc_ring)", "0"},
            {"OFFSET(printk_ringbuffer.text_data_ring)", "48"},
            {"OFFSET(prb_desc_ring.count_bits)", "0"},
            {"OFFSET(prb_desc_ring.descs)", "8"},
            {"OFFSET(prb_desc_ring.infos)", "16"},
            {"OFFSET(prb_desc_ring.head_id)", "24"},
            {"OFFSET(prb_desc_ring.tail_id)", "32"},
            {"SIZE(prb_desc)", "24"},
            {"OFFSET(prb_desc.state_var)", "0"},
            {"OFFSET(prb_desc.text_blk_lpos)", "8"},
            {"OFFSET(prb_data_blk_lpos.begin)", "0"},
            {"OFFSET(prb_data_blk_lpos.next)", "8"},
            {"SIZE(printk_info)", "88"},
            {"OFFSET(printk_info.seq)", "0"},
            {"OFFSET(printk_info.ts_nsec)", "8"},
            {"OFFSET(printk_info.text_len)", "16"},
            {"OFFSET(prb_data_ring.size_bits)", "0"},
            {"OFFSET(prb_data_ring.data)", "8"}};
    const std::pair<const char*, Place> kSymbols[] = {{"init_uts_ns", kNames},
                                                      {"_stext", kCode},
                                                      {"prb", kLogPointer},
                                                      {"kallsyms_names", kSymbolNames},
                                                      {"kallsyms_num_syms", kCount},
                                                      {"kallsyms_token_table", kTokens},
                                                      {"kallsyms_token_index", kTokenIndex},
                                                      {"kallsyms_offsets", kOffsets},
                                                      {"kallsyms_relative_base", kBase}};
    for (const auto& [name, place] : kSymbols) set_symbol(name, place);
    if (machine == Machine::kX86) {
      set_symbol("init_top_pgt", kTables);
      info["NUMBER(phys_base)"] = std::to_string(static_cast<int64_t>(kPhysical) - static_cast<int64_t>(kImage - kMap));
      info["NUMBER(pgtable_l5_enabled)"] = "0";
    } else {
      set_symbol("swapper_pg_dir", kTables);
      info["NUMBER(kimage_voffset)"] = fmt::format("{:#x}", kImage - kPhysical);
      info["NUMBER(PHYS_OFFSET)"] = "0x0";
      info["NUMBER(VA_BITS)"] = "48";
      info["NUMBER(TCR_EL1_T1SZ)"] = "0x10";
      info["NUMBER(KERNELPACMASK)"] = fmt::format("{:#x}", kArm64Signature);
      absolute_percpu = false;
    }
    symbols = {{'A', "per_cpu_start", 0},
               {'T', "_stext", kImage + kCode},
               {'T', "_text_alias", kImage + kCode},
               {'D', "__start_orc_unwind_ip", kImage + kOrcAddresses},
               {'D', "__stop_orc_unwind_ip", kImage + kOrcAddresses},
               {'D', "__start_orc_unwind", kImage + kOrcEntries},
               {'B', "_end", kImage + 0x1fffff}};
  }

  void set_symbol(const std::string& name, uint64_t place) {
    info["SYMBOL(" + name + ")"] = fmt::format("{:x}", kImage + place);
  }
  // A function of the kernel's code.
  void add_code(const std::string& name, uint64_t place) { symbols.push_back({'t', name, kImage + kCode + place}); }

  // init_task and its child, PID 1; with CONFIG_STACKPROTECTOR there is a canary in each.
  void add_tasks(const std::string& current = "current_task", bool canary = true) {
    symbols.push_back({'D', "init_task", kImage + kInitTask});
    symbols.push_back({'D', current, machine == Machine::kX86 ? kCurrent : kImage + kCurrent});
    const uint64_t parent = kPid + (canary ? 16 : 8);
    for (const uint64_t task : {kInitTask, kFirstTask}) {
      const uint64_t id = task == kInitTask ? 0 : 0x100000001;  // PID and TGID
      put(task + kPid, id);
      if (canary) put(task + kPid + 8, uint64_t{0x123456789abcde00});
      put(task + parent, kImage + kInitTask);
      put(task + parent + 8, kImage + kInitTask);
      put(task + parent + 16, kImage + kFirstTask + parent + 32);  // children
      put(task + parent + 48, kImage + task);                      // group_leader
    }
    set_current(kInitTask);
  }
  void set_current(uint64_t task) const { put(kPerCpu + kCurrent, kImage + task); }

  // As printk does it.
  void log(uint64_t nanoseconds, unsigned level, const std::string& text, uint64_t state = 2, uint8_t facility = 0) {
    uint64_t begin = text_head_;
    uint64_t next = begin + ((8 + text.size() + 7) & ~uint64_t{7});
    uint64_t at = begin % kLogSize;
    if (begin / kLogSize != next / kLogSize) {
      next = (begin / kLogSize + 1) * kLogSize + (next - begin);
      at = 0;
    }
    text_head_ = next;
    head_id_ = (head_id_ + 1) & ((uint64_t{1} << 62) - 1);
    const uint64_t slot = head_id_ % (1 << kLogCountBits);
    put(kText + at, head_id_);
    put_bytes(kText + at + 8, text);
    put(kDescriptors + slot * kDescriptorSize, state << 62 | head_id_);
    put(kDescriptors + slot * kDescriptorSize + 8, begin);
    put(kDescriptors + slot * kDescriptorSize + 16, next);
    put(kInfos + slot * kInfoSize, head_id_ - kFirstId);
    put(kInfos + slot * kInfoSize + 8, nanoseconds);
    put(kInfos + slot * kInfoSize + 16, static_cast<uint16_t>(text.size()));
    put(kInfos + slot * kInfoSize + 18, facility);
    put(kInfos + slot * kInfoSize + 19, static_cast<uint8_t>(level << 5));
  }
  // A call at `place` of the code, whose return address lies on the stack then.
  uint64_t return_address(uint64_t place) {
    put(kCode + place - 5, uint8_t{0xe8});
    return kImage + kCode + place;
  }

  void write() {
    write_tables();
    write_log();
    write_symbols();
    write_orc();
    put_bytes(kNames + 4 + 130, release + '\0');
    put_bytes(kInfo, info_text() + '\0');
  }
  std::string info_text() const {
    std::string text = "OSRELEASE=" + info.at("OSRELEASE") + "\n";
    for (const auto& [key, value] : info) text += key == "OSRELEASE" ? "" : key + "=" + value + "\n";
    return text;
  }
  VmcoreInfo vmcoreinfo() const { return VmcoreInfo::parse(info_text()).value(); }
  AddressSpace kernel() const { return KernelMap::of(memory, vmcoreinfo()).value().space; }
  // A CPU in the kernel, at a place of its code, with a stack pointer.
  CpuState cpu(uint64_t place, uint64_t sp = kStackEnd) const {
    if (machine == Machine::kArm64) return {.registers = arm64_registers(place, sp)};
    X86Registers registers;
    registers.cr0 = 0x80000001;
    registers.cr3 = kPhysical + kTables;
    registers.cr4 = 0x20;  // PAE
    registers.efer = 0x500;
    registers.rip = kImage + kCode + place;
    registers.rsp = kImage + sp;
    return {.registers = registers};
  }

  // Into the image.
  template <typename T>
  void put(uint64_t place, const T& value) const {
    memory.write_value(GuestAddress{kPhysical + place}, value);
  }
  void put_bytes(uint64_t place, std::string_view bytes) const {
    memory.write(GuestAddress{kPhysical + place}, std::as_bytes(std::span(bytes)));
  }

  GuestMemory memory;
  const Machine machine;
  std::string release = "6.1.0-1-test";
  std::map<std::string, std::string> info;
  std::vector<Symbol> symbols;
  std::vector<Orc> orc;
  bool absolute_percpu = true;
  bool offsets_from_their_places = false;  // as since Linux 7.0, without a base
  uint64_t tail_id = 0;                    // 0: the oldest that is there

 private:
  Arm64Registers arm64_registers(uint64_t place, uint64_t sp) const {
    Arm64Registers registers;
    registers.sctlr_el1 = 1;
    registers.tcr_el1 = uint64_t{2} << 30 | 16 << 16;                 // pages of 4 KiB, addresses of 48 bits
    registers.ttbr1_el1 = uint64_t{7} << 48 | (kPhysical + kTables);  // with an ASID
    registers.tpidr_el1 = kPerCpu;
    registers.pstate = 5;  // EL1h
    registers.pc = kImage + kCode + place;
    registers.sp = kImage + sp;
    return registers;
  }
  // The image by one large page; it is in the last gigabyte but one. Both kinds of tables have 512 entries.
  void write_tables() const {
    constexpr uint64_t kTable = 0x1000, kPointer = 0x3;
    const uint64_t large_page = machine == Machine::kX86 ? 0x83 : 0x401;
    if (machine == Machine::kArm64) {
      put(kTables, kPhysical + kTables + kTable + kPointer);
      put(kTables + kTable, large_page);
    }
    put(kTables + 511 * 8, kPhysical + kTables + kTable + kPointer);
    put(kTables + kTable + 510 * 8, kPhysical + kTables + 2 * kTable + kPointer);
    put(kTables + 2 * kTable + (kImage - kMap) / 0x200000 * 8, kPhysical + large_page);
  }
  void write_log() const {
    put(kLogPointer, kImage + kLog);
    put(kLog, kLogCountBits);
    put(kLog + 8, kImage + kDescriptors);
    put(kLog + 16, kImage + kInfos);
    put(kLog + 24, head_id_);
    put(kLog + 32, tail_id == 0 ? kFirstId : tail_id);
    put(kLog + 48, uint32_t{10});
    put(kLog + 56, kImage + kText);
  }
  void write_symbols() {
    const auto stop = std::ranges::find(symbols, std::string("__stop_orc_unwind_ip"), &Symbol::name);
    stop->address = kImage + kOrcAddresses + orc.size() * 4;
    std::ranges::stable_sort(symbols, {}, &Symbol::address);
    if (offsets_from_their_places) {
      absolute_percpu = false;
      info.erase("SYMBOL(kallsyms_relative_base)");
    }
    if (!absolute_percpu) std::erase_if(symbols, [](const Symbol& symbol) { return symbol.address < kMap; });
    uint64_t base = kImage;
    put(kBase, base);
    put(kCount, static_cast<uint32_t>(symbols.size()));
    std::string names;
    for (size_t i = 0; i < symbols.size(); ++i) {
      const Symbol& symbol = symbols[i];
      int64_t offset = static_cast<int64_t>(symbol.address - base);
      if (absolute_percpu) offset = symbol.address < kMap ? static_cast<int64_t>(symbol.address) : -1 - offset;
      if (offsets_from_their_places) offset = static_cast<int64_t>(symbol.address - (kImage + kOffsets + i * 4));
      put(kOffsets + i * 4, static_cast<int32_t>(offset));
      std::string name = symbol.type + symbol.name;
      if (const size_t found = name.find("panic"); found != std::string::npos) name.replace(found, 5, "\x01");
      if (name.size() < 0x80) {
        names += static_cast<char>(name.size());
      } else {
        names += static_cast<char>(0x80 | (name.size() & 0x7f));
        names += static_cast<char>(name.size() >> 7);
      }
      names += name;
    }
    put_bytes(kSymbolNames, names);
    // Every token stands for itself, but for one.
    for (unsigned token = 0; token < 256; ++token) {
      put(kTokens + token * 8, static_cast<uint8_t>(token));
      put(kTokenIndex + token * 2, static_cast<uint16_t>(token * 8));
    }
    put_bytes(kTokens + 8, "panic");
  }
  void write_orc() const {
    for (size_t i = 0; i < orc.size(); ++i) {
      put(kOrcAddresses + i * 4, static_cast<int32_t>(orc[i].address - (kImage + kOrcAddresses + i * 4)));
      put(kOrcEntries + i * 6, orc[i].sp_offset);
      put(kOrcEntries + i * 6 + 2, orc[i].bp_offset);
      put(kOrcEntries + i * 6 + 4, orc[i].kinds);
    }
  }

  static constexpr uint64_t kFirstId = 0x1001;
  uint64_t head_id_ = kFirstId - 1;
  uint64_t text_head_ = 0;
};

}  // namespace vmm::test
