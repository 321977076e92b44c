// Finding the kernel and walking its stacks; see black_box.h.
#include "vmm/blackbox/black_box.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <variant>

#include "vmm/blackbox/printable.h"

namespace vmm {

namespace {

constexpr uint64_t kKernelHalf = uint64_t{1} << 63;
constexpr size_t kMaxFrames = 64;
constexpr uint64_t kMaxStack = 16384;                                  // THREAD_SIZE
constexpr size_t kMaxScannedWords = 2 * kMaxStack / sizeof(uint64_t);  // of all stacks that a CPU came by
constexpr size_t kMaxRelease = 64;                                     // __NEW_UTS_LEN

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

// A page may claim anything. The kernel's own agrees with the page tables it names, with those that a CPU uses, and
// with the release in memory.
bool BlackBox::accept(const PhysicalMemory& memory, std::span<const CpuState> cpus, const VmcoreInfo& info) {
  const auto map = KernelMap::of(memory, info);
  const auto text = info.symbol("_stext");
  const auto names = info.symbol("init_uts_ns");
  const auto name_offset = info.offset("uts_namespace.name");
  if (!map || !text || !names || !name_offset || !map->is_proven(memory, cpus, *text)) return false;

  constexpr uint64_t kReleaseOfUts = 2 * (kMaxRelease + 1);  // after sysname and nodename in struct new_utsname
  std::array<char, kMaxRelease + 1> release{};
  const uint64_t release_at = *names + *name_offset + kReleaseOfUts;
  if (!map->space.read(release_at, std::as_writable_bytes(std::span(release)))) return false;
  release.back() = '\0';
  if (info.release() != release.data()) return false;

  kernel_ = map;
  const AddressSpace& space = kernel_->space;
  vmcoreinfo_ = info.text();
  release_ = printable(info.release());
  kaslr_offset_ = info.kernel_offset();
  log_ = read_kernel_log(space, info);
  symbols_ = Kallsyms::read(space, info);
  orc_.emplace(space, symbols_, release_);
  tasks_.emplace(space, symbols_);
  for (const std::string& trouble : {log_.trouble, symbols_.trouble()}) {
    if (!trouble.empty()) troubles_.push_back(trouble);
  }
  return true;
}

// On x86-64 (Documentation/arch/x86/x86_64/mm.rst) page_offset_base, or, where there is none, what it would be without
// KASLR. The kernel's own page tables are in it.
std::optional<uint64_t> BlackBox::direct_map() const {
  constexpr uint64_t kWithoutKaslr = 0xffff888000000000;
  if (!kernel_) return std::nullopt;
  auto base = kernel_->direct_map;
  if (!base) {
    const auto variable = symbols_.address_of("page_offset_base");
    base = variable ? kernel_->space.read<uint64_t>(*variable) : kWithoutKaslr;
  }
  const GuestAddress tables = kernel_->space.root();
  return base && kernel_->space.translate(*base + tables.value) == tables ? base : std::nullopt;
}

// A kernel that does not name its ends (without CONFIG_KALLSYMS_ALL) has as much as its symbols in VMCOREINFO lie in.
std::optional<Mapping> BlackBox::image() const {
  const auto info = VmcoreInfo::parse(vmcoreinfo_);
  if (!kernel_ || !info) return std::nullopt;
  uint64_t begin = ~uint64_t{0}, end = 0;
  for (const uint64_t symbol : info->symbols()) {
    if (kernel_->space.translate(symbol) != kernel_->in_image(symbol)) continue;  // some name other memory
    begin = std::min(begin, symbol);
    end = std::max(end, symbol + 1);
  }
  begin = symbols_.address_of("_text").value_or(begin);
  end = symbols_.address_of("_end").value_or(end);
  if (end <= begin) return std::nullopt;
  return Mapping{begin, kernel_->in_image(begin), end - begin};
}

Frame BlackBox::frame(uint64_t address, bool exact, bool sure) const {
  // The call may be its function's last instruction, so that the return address is beyond it.
  const auto symbol = symbols_.find(exact ? address : address - 1);
  if (!symbol) return {address, {}, 0, sure};
  return {address, symbol->name, address - symbol->address, sure};
}

// Whether the instruction before `address` may be a CALL: E8 and four bytes, or FF /2 in two to seven.
bool BlackBox::follows_call(uint64_t address) const {
  if (!symbols_.is_code(address - 1)) return false;
  std::array<uint8_t, 7> code{};
  if (!kernel_->space.read(address - code.size(), std::as_writable_bytes(std::span(code)))) return false;
  if (code[2] == 0xe8) return true;
  constexpr std::array<size_t, 5> kIndirect{0, 1, 3, 4, 5};
  return std::ranges::any_of(kIndirect,
                             [&code](size_t at) { return code[at] == 0xff && (code[at + 1] & 0x38) == 0x10; });
}

bool BlackBox::scan(Orc::State& state, size_t& words_left) const {
  constexpr uint64_t kWord = sizeof(uint64_t);
  const uint64_t start = (state.sp + kWord - 1) & ~(kWord - 1);
  for (uint64_t at = start; words_left > 0 && (at == start || at % kMaxStack != 0); at += kWord) {
    --words_left;
    const auto word = kernel_->space.read<uint64_t>(at);
    if (!word) return false;
    if (!follows_call(*word)) continue;
    state = {.ip = *word, .sp = at + kWord, .bp = state.bp, .exact = false};
    return true;
  }
  return false;
}

std::vector<Frame> BlackBox::stack(const CpuState& cpu) const {
  const bool in_kernel = !cpu.in_user_space() && cpu.activity != CpuState::Activity::kNotStarted;
  if (!kernel_ || !in_kernel || cpu.pc() < kKernelHalf) return {};
  return std::visit([this](const auto& registers) { return stack(registers); }, cpu.registers);
}

std::vector<Frame> BlackBox::stack(const X86Registers& registers) const {
  std::vector<Frame> frames;
  Orc::State state{.ip = registers.rip,
                   .sp = registers.rsp,
                   .bp = registers.rbp,
                   .exact = true,
                   .ax = registers.rax,
                   .dx = registers.rdx,
                   .di = registers.rdi,
                   .r10 = registers.r10,
                   .r13 = registers.r13};
  bool sure = true;
  size_t words_left = kMaxScannedWords;
  while (frames.size() < kMaxFrames) {
    frames.push_back(frame(state.ip, state.exact, sure));
    const Orc::Step step = orc_->unwind(state);
    if (state.in_user_space) break;
    if (step == Orc::Step::kCaller) continue;
    // A stack ends at its beginning. Where a CPU is, no end is one: retpoline thunks are marked so (up to Linux 6.3).
    if (step == Orc::Step::kEnd && frames.size() > 1) break;
    sure = false;
    if (!scan(state, words_left)) break;
  }
  return frames;
}

// A function that calls no other stores no frame record, and none has stored one at its very start: its caller is in
// LR alone. Else LR is what the last call left in it: a place in the function itself, but for tail calls.
std::optional<uint64_t> BlackBox::caller_in_lr(const FrameRecords& records, const FrameRecords::State& state) const {
  if (!state.lr) return std::nullopt;
  const auto own = symbols_.find(state.pc);
  const auto caller = symbols_.find(*state.lr - 1);
  if (!caller || !caller->is_code || (own && own->address == caller->address)) return std::nullopt;
  FrameRecords::State next = state;
  return records.unwind(next) && next.pc == *state.lr ? std::nullopt : state.lr;
}

std::vector<Frame> BlackBox::stack(const Arm64Registers& registers) const {
  std::vector<Frame> frames;
  const FrameRecords records(kernel_->space, kernel_->signature);
  FrameRecords::State state = records.top(registers);
  do {
    frames.push_back(frame(state.pc, state.lr.has_value(), true));
    if (const auto caller = caller_in_lr(records, state)) frames.push_back(frame(*caller, false, false));
  } while (frames.size() + 1 < kMaxFrames && records.unwind(state));
  return frames;
}

}  // namespace vmm
