// Walks of page tables for gdb, with other vCPUs' tables as a help; see gdb_memory.h.
#include "vmm/control/gdb/gdb_memory.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "vmm/blackbox/address_space.h"

namespace vmm {

namespace {

constexpr uint64_t kPageSize = GuestMemory::kPageSize;
constexpr uint64_t kKernelHalf = uint64_t{1} << 63;
constexpr uint64_t kKernelMap = 0xffffffff80000000;  // __START_KERNEL_map

// How many of `most` bytes are in the page of `address`.
size_t in_page(uint64_t address, size_t most) { return std::min<uint64_t>(most, kPageSize - address % kPageSize); }

}  // namespace

std::optional<GuestAddress> GdbMemory::seen_by(unsigned cpu, uint64_t address) const {
  const CpuState state = target_.cpu_state(cpu);
  if (!state.has_paging()) return GuestAddress{address};
  const Arm64Registers* const arm64 = state.arm64();
  const auto space = arm64 != nullptr && (address & kKernelHalf) == 0
                         ? AddressSpace::lower_half_of(target_.memory(), *arm64)
                         : AddressSpace::of(target_.memory(), state);
  if (!space) return target_.translate(cpu, address);
  if (const auto found = space->translate(address)) return found;
  if (state.x86() == nullptr || (address & kKernelHalf) == 0) return std::nullopt;
  return space->behind_isolation().translate(address);
}

std::optional<GuestAddress> GdbMemory::translate(unsigned cpu, uint64_t address) const {
  const auto found = seen_by(cpu, address);
  if ((address & kKernelHalf) == 0) return found;
  const auto is_ram = [this](std::optional<GuestAddress> where) {
    return where && target_.memory().slice(*where, 1).has_value();
  };
  if (is_ram(found)) return found;
  for (unsigned other = 0; other < target_.cpus(); ++other) {
    if (const auto there = seen_by(other, address); is_ram(there)) return there;
  }
  return target_.kernel_in_place() ? unmapped_kernel(address) : std::nullopt;
}

// Linux before it has page tables of its own: its image, where it will be mapped when nothing moves it. One that is not
// unpacked yet can only be read so: debuggers read a function's beginning to set a breakpoint on it.
std::optional<GuestAddress> GdbMemory::unmapped_kernel(uint64_t address) const {
  if (address < kKernelMap) return std::nullopt;
  for (unsigned cpu = 0; cpu < target_.cpus(); ++cpu) {
    if (target_.cpu_state(cpu).pc() >= kKernelHalf) return std::nullopt;
  }
  return GuestAddress{address - kKernelMap};
}

std::string GdbMemory::read(unsigned cpu, uint64_t address, size_t most) const {
  std::string text(most, '\0');
  const auto bytes = std::as_writable_bytes(std::span(text));
  size_t done = 0;
  while (done < most) {
    const uint64_t at = address + done;
    if (at < address) break;
    const auto part = bytes.subspan(done, in_page(at, most - done));
    auto where = translate(cpu, at);
    if (!where) where = unmapped_kernel(at);
    if (!where || !target_.memory().read(*where, part)) break;
    breakpoints_.hide(*where, part);
    done += part.size();
  }
  text.resize(done);
  return text;
}

bool GdbMemory::write(unsigned cpu, uint64_t address, std::span<const std::byte> bytes) const {
  std::vector<std::pair<GuestAddress, std::span<const std::byte>>> parts;
  for (size_t done = 0; done < bytes.size();) {
    const uint64_t at = address + done;
    const auto part = bytes.subspan(done, in_page(at, bytes.size() - done));
    const auto where = at < address ? std::nullopt : translate(cpu, at);
    if (!where || !target_.memory().slice(*where, part.size())) return false;
    parts.emplace_back(*where, part);
    done += part.size();
  }
  for (const auto& [where, part] : parts) breakpoints_.write(target_.memory(), where, part);
  return true;
}

}  // namespace vmm
