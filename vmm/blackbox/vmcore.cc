// Reading ELF headers, notes and memory; see vmcore.h.
#include "vmm/blackbox/vmcore.h"

#include <elf.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "vmm/blackbox/address_space.h"
#include "vmm/blackbox/vmcore_notes.h"
#include "vmm/core/error.h"

namespace vmm {

namespace {

constexpr size_t kMaxProgramHeaders = 8192;
constexpr uint64_t kMaxNotes = uint64_t{8} << 20;  // bytes of them altogether
constexpr uint64_t kMaxVmcoreinfo = 65536;
constexpr size_t kMaxCpus = 8192;
constexpr uint64_t kKernelMap = 0xffffffff80000000;  // __START_KERNEL_map

// What else people may have at hand.
std::string foreign_format(std::string_view start) {
  if (start.starts_with("KDUMP   ")) return "it is in makedumpfile's compressed format";
  if (start.starts_with("makedumpfile")) return "it is in makedumpfile's flattened format";
  if (!start.starts_with(ELFMAG)) return "it is no ELF file";
  return {};
}

std::string refusal(const Elf64_Ehdr& header) {
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
      (header.e_machine != EM_X86_64 && header.e_machine != EM_AARCH64)) {
    return "it is neither of an x86-64 nor of an arm64 machine";
  }
  if (header.e_type != ET_CORE) return "it is an ELF file, but no core";
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum > kMaxProgramHeaders) {
    return "its program headers are of a foreign kind";
  }
  return {};
}

}  // namespace

Vmcore::Vmcore(const std::string& path) : file_(path) {
  const auto refuse = [&path](const std::string& why) {
    throw Error(fmt::format("cannot read vmcore '{}': {}", path, why),
                "name one that vmm, QEMU's dump-guest-memory or kdump wrote; crash and drgn read others");
  };
  Elf64_Ehdr header{};
  const auto start = std::as_writable_bytes(std::span(&header, 1));
  if (!file_.read(0, start)) refuse("it is too short");
  if (const auto why = foreign_format({reinterpret_cast<const char*>(start.data()), start.size()}); !why.empty()) {
    refuse(why);
  }
  if (const auto why = refusal(header); !why.empty()) refuse(why);
  std::vector<Elf64_Phdr> program_headers(header.e_phnum);
  if (!file_.read(header.e_phoff, std::as_writable_bytes(std::span(program_headers)))) {
    refuse("it ends within its headers");
  }

  uint64_t notes_left = kMaxNotes;
  for (const Elf64_Phdr& entry : program_headers) {
    if (entry.p_type != PT_NOTE) continue;
    const uint64_t size = std::min(entry.p_filesz, notes_left);
    notes_left -= size;
    read_notes(entry.p_offset, size, header.e_machine);
  }
  std::erase_if(program_headers, [](const Elf64_Phdr& entry) {
    // What is mapped there is the kernel's image, which is a part of RAM as well.
    return entry.p_type != PT_LOAD || entry.p_vaddr >= kKernelMap;
  });
  std::ranges::sort(program_headers, {}, &Elf64_Phdr::p_paddr);
  for (const Elf64_Phdr& entry : program_headers) {
    add_part({entry.p_paddr, std::max(entry.p_memsz, entry.p_filesz), entry.p_offset, entry.p_filesz});
  }
  if (parts_.empty()) refuse("there is no memory in it");
  find_halted_cpus();
}

// On x86 QEMU's notes have all registers, those of kdump the general ones.
void Vmcore::read_notes(uint64_t offset, uint64_t size, uint16_t machine) {
  std::vector<std::byte> notes(std::min(size, file_.size() - std::min(offset, file_.size())));
  if (!file_.read(offset, notes)) return;
  std::vector<CpuState> general, whole;
  const auto take = [](std::vector<CpuState>& cpus, std::optional<CpuState> cpu) {
    if (!cpu || cpus.size() == kMaxCpus) return;
    cpu->id = static_cast<unsigned>(cpus.size());
    cpus.push_back(*cpu);
  };
  for_each_note(notes, [&](const Note& note) {
    take(general, general_registers(note, machine));
    take(whole, all_registers(note));
    if (!note.is(kVmcoreinfoNote, 0) || note.bytes.size() > kMaxVmcoreinfo) return;
    vmcoreinfo_.assign(reinterpret_cast<const char*>(note.bytes.data()), note.bytes.size());
  });
  auto& found = whole.empty() ? general : whole;
  if (!found.empty()) cpus_ = std::move(found);
}

// They come in ascending order. Of memory that two of them have, the first counts.
void Vmcore::add_part(Part part) {
  uint64_t end = 0;
  if (__builtin_add_overflow(part.start, part.size, &end)) return;
  const uint64_t covered = parts_.empty() ? 0 : parts_.back().end();
  if (part.start < covered) {
    const uint64_t cut = std::min(part.size, covered - part.start);
    part = {part.start + cut, part.size - cut, part.offset + cut, part.in_file - std::min(cut, part.in_file)};
  }
  // What the file lost is not there, nor is what would have come after it.
  const uint64_t available = file_.size() - std::min(part.offset, file_.size());
  if (part.in_file > available) part.size = part.in_file = available;
  if (part.size > 0) parts_.push_back(part);
}

// There is no note of that, but the next instruction of an x86 CPU in HLT is the one after it.
void Vmcore::find_halted_cpus() {
  constexpr uint8_t kHlt = 0xf4;
  for (CpuState& cpu : cpus_) {
    if (cpu.x86() == nullptr) continue;
    const auto space = AddressSpace::of(*this, cpu);
    if (space && space->read<uint8_t>(cpu.pc() - 1) == kHlt) cpu.activity = CpuState::Activity::kHalted;
  }
}

bool Vmcore::read(GuestAddress address, std::span<std::byte> to) const {
  uint64_t at = address.value;
  while (!to.empty()) {
    auto part = std::ranges::upper_bound(parts_, at, {}, &Part::start);
    if (part == parts_.begin() || (--part)->end() <= at) return false;
    const uint64_t inside = at - part->start;
    const auto here = to.first(std::min<uint64_t>(to.size(), part->size - inside));
    const auto stored = here.first(std::min<uint64_t>(here.size(), part->in_file - std::min(inside, part->in_file)));
    if (!file_.read(part->offset + inside, stored)) return false;
    std::ranges::fill(here.subspan(stored.size()), std::byte{0});
    to = to.subspan(here.size());
    at += here.size();
  }
  return true;
}

// Headers may claim the same piece of the file many times over. One that is sound has no more pages than the file.
void Vmcore::for_each_touched_page(const std::function<bool(GuestAddress)>& visit) const {
  uint64_t pages_left = file_.size() / kPageSize + 2 * parts_.size();
  for (const Part& part : parts_) {
    if (!visit_part(part, visit, pages_left)) return;
  }
}

bool Vmcore::visit_part(const Part& part, const std::function<bool(GuestAddress)>& visit, uint64_t& pages_left) const {
  const auto page_of = [](uint64_t place) { return place / kPageSize * kPageSize; };
  uint64_t at = (kPageSize - part.start % kPageSize) % kPageSize;  // from its start
  while (at < part.in_file) {
    const auto data = file_.next_data(part.offset + at);
    if (!data) return true;
    // Pages of memory need not be aligned in the file, so a page may be part hole, part data.
    at += page_of(data->start - part.offset - at);
    const uint64_t stop = std::min(part.in_file, data->end - part.offset);
    do {
      if (at >= part.in_file || pages_left-- == 0) return at >= part.in_file;
      if (!visit({part.start + at})) return false;
      at += kPageSize;
    } while (at < stop);
  }
  return true;
}

}  // namespace vmm
