// Finding the kernel and walking its stacks; see black_box.h.
#include "vmm/blackbox/black_box.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "vmm/blackbox/printable.h"

namespace vmm {

namespace {

constexpr uint64_t kKernelMap = 0xffffffff80000000;  // __START_KERNEL_map
constexpr size_t kMaxFrames = 64;
constexpr uint64_t kMaxStack = 16384;  // THREAD_SIZE
constexpr size_t kMaxRelease = 64;     // __NEW_UTS_LEN

// Where the kernel's image is mapped, physical addresses differ from virtual ones by a constant.
GuestAddress image_address(uint64_t address, int64_t phys_base) {
  return {address - kKernelMap + static_cast<uint64_t>(phys_base)};
}

// The CPU's page tables lead where VMCOREINFO says. With page-table isolation a CPU that is in user space has tables
// that leave the kernel out: the full ones are in the page before.
bool agrees(const PhysicalMemory& memory, CpuState cpu, uint64_t address, GuestAddress expected) {
  constexpr uint64_t kUserTables = 1 << 12;
  for (const uint64_t root : {cpu.cr3, cpu.cr3 & ~kUserTables}) {
    cpu.cr3 = root;
    const auto space = AddressSpace::of(memory, cpu);
    if (space && space->translate(address) == expected) return true;
  }
  return false;
}

}  // namespace

BlackBox::BlackBox(const PhysicalMemory& memory, std::span<const CpuState> cpus, std::string_view vmcoreinfo) {
  const auto known = VmcoreInfo::parse(vmcoreinfo);
  if (known && accept(memory, cpus, *known)) return;
  const bool found = find_vmcoreinfo(memory, [&](const VmcoreInfo& info) { return accept(memory, cpus, info); });
  if (!found) {
    troubles_.emplace_back(
        "no VMCOREINFO in guest memory: no Linux, one without CONFIG_CRASH_CORE, or one that has not come that far");
  }
}

// A page may claim anything. The kernel's own agrees with the page tables it names, with those that a CPU uses, which
// nobody but a kernel can set, and with the release in memory.
bool BlackBox::accept(const PhysicalMemory& memory, std::span<const CpuState> cpus, const VmcoreInfo& info) {
  const auto text = info.symbol("_stext");
  const auto tables = info.symbol("init_top_pgt") ? info.symbol("init_top_pgt") : info.symbol("swapper_pg_dir");
  const auto phys_base = info.number("phys_base");
  const auto names = info.symbol("init_uts_ns");
  const auto name_offset = info.offset("uts_namespace.name");
  if (!text || !tables || !phys_base || !names || !name_offset || *text < kKernelMap) return false;
  const bool five_levels = info.number("pgtable_l5_enabled").value_or(0) != 0;
  const AddressSpace kernel(memory, image_address(*tables, *phys_base), five_levels ? 5 : 4);
  const GuestAddress expected = image_address(*text, *phys_base);
  if (kernel.translate(*text) != expected) return false;
  const bool any_paging =
      std::ranges::any_of(cpus, [&](const CpuState& cpu) { return AddressSpace::of(memory, cpu).has_value(); });
  const bool agreed =
      std::ranges::any_of(cpus, [&](const CpuState& cpu) { return agrees(memory, cpu, *text, expected); });
  if (any_paging && !agreed) return false;

  constexpr uint64_t kReleaseOfUts = 2 * (kMaxRelease + 1);  // after sysname and nodename in struct new_utsname
  std::array<char, kMaxRelease + 1> release{};
  if (!kernel.read(*names + *name_offset + kReleaseOfUts, std::as_writable_bytes(std::span(release)))) return false;
  release.back() = '\0';
  if (info.release() != release.data()) return false;

  kernel_.emplace(kernel);
  vmcoreinfo_ = info.text();
  release_ = printable(info.release());
  kaslr_offset_ = info.kernel_offset();
  log_ = read_kernel_log(*kernel_, info);
  symbols_ = Kallsyms::read(*kernel_, info);
  orc_.emplace(*kernel_, symbols_, release_);
  tasks_.emplace(*kernel_, symbols_);
  for (const std::string& trouble : {log_.trouble, symbols_.trouble()}) {
    if (!trouble.empty()) troubles_.push_back(trouble);
  }
  return true;
}

// Documentation/arch/x86/x86_64/mm.rst: page_offset_base, or, where there is none, what it would be without KASLR.
std::optional<uint64_t> BlackBox::direct_map() const {
  constexpr uint64_t kWithoutKaslr = 0xffff888000000000;
  if (!kernel_) return std::nullopt;
  const auto variable = symbols_.address_of("page_offset_base");
  const auto base = variable ? kernel_->read<uint64_t>(*variable) : kWithoutKaslr;
  return base && kernel_->translate(*base) == GuestAddress{0} ? base : std::nullopt;
}

std::optional<Mapping> BlackBox::image() const {
  if (!kernel_) return std::nullopt;
  const auto begin = symbols_.address_of("_text");
  const auto end = symbols_.address_of("_end");
  const auto physical = begin ? kernel_->translate(*begin) : std::nullopt;
  if (!physical || !end || *end <= *begin) return std::nullopt;
  return Mapping{*begin, *physical, *end - *begin};
}

Frame BlackBox::frame(const Orc::State& state, bool sure) const {
  // The call may be its function's last instruction, so that the return address is beyond it.
  const auto symbol = symbols_.find(state.exact ? state.ip : state.ip - 1);
  if (!symbol) return {state.ip, {}, 0, sure};
  return {state.ip, symbol->name, state.ip - symbol->address, sure};
}

// Whether the instruction before `address` may be a CALL: E8 and four bytes, or FF /2 in two to seven.
bool BlackBox::follows_call(uint64_t address) const {
  const auto symbol = symbols_.find(address - 1);
  if (!symbol || !symbol->is_code) return false;
  std::array<uint8_t, 7> code{};
  if (!kernel_->read(address - code.size(), std::as_writable_bytes(std::span(code)))) return false;
  if (code[2] == 0xe8) return true;
  constexpr std::array<size_t, 5> kIndirect{0, 1, 3, 4, 5};
  return std::ranges::any_of(kIndirect,
                             [&code](size_t at) { return code[at] == 0xff && (code[at + 1] & 0x38) == 0x10; });
}

bool BlackBox::scan(Orc::State& state) const {
  constexpr uint64_t kWord = sizeof(uint64_t);
  const uint64_t start = (state.sp + kWord - 1) & ~(kWord - 1);
  for (uint64_t at = start; at - start < kMaxStack && (at == start || at % kMaxStack != 0); at += kWord) {
    const auto word = kernel_->read<uint64_t>(at);
    if (!word) return false;
    if (!follows_call(*word)) continue;
    state = {.ip = *word, .sp = at + kWord, .bp = state.bp, .exact = false};
    return true;
  }
  return false;
}

std::vector<Frame> BlackBox::stack(const CpuState& cpu) const {
  std::vector<Frame> frames;
  if (!kernel_ || cpu.privilege == 3 || cpu.activity == CpuState::Activity::kNotStarted) return frames;
  if (cpu.rip < kKernelMap) return frames;
  Orc::State state{.ip = cpu.rip,
                   .sp = cpu.rsp,
                   .bp = cpu.rbp,
                   .exact = true,
                   .dx = cpu.rdx,
                   .di = cpu.rdi,
                   .r10 = cpu.r10,
                   .r13 = cpu.r13};
  bool sure = true;
  while (frames.size() < kMaxFrames) {
    frames.push_back(frame(state, sure));
    const Orc::Step step = orc_->unwind(state);
    if (state.in_user_space) break;
    if (step == Orc::Step::kCaller) continue;
    // A stack ends at its beginning. Where a CPU is, no end is one: retpoline thunks are marked so (up to Linux 6.3).
    if (step == Orc::Step::kEnd && frames.size() > 1) break;
    sure = false;
    if (!scan(state)) break;
  }
  return frames;
}

}  // namespace vmm
