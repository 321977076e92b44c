// Breakpoints put in and taken out: patches of memory first, debug registers else; see gdb_breakpoints.h.
#include "vmm/control/gdb/gdb_breakpoints.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>
#include <vector>

namespace vmm {

namespace {

constexpr uint64_t kWidest = 8;

HardwarePoint::Kind point_kind(GdbBreakpoints::Kind kind) {
  switch (kind) {
    case GdbBreakpoints::Kind::kWrite:
      return HardwarePoint::Kind::kWrite;
    case GdbBreakpoints::Kind::kAccess:
      return HardwarePoint::Kind::kAccess;
    default:
      return HardwarePoint::Kind::kExecute;
  }
}

void write_code(const GuestMemory& memory, GuestAddress where, std::span<const std::byte> code) {
  if (!memory.write(where, code)) return;
  if (const auto place = memory.slice(where, code.size())) code_changed(*place);
}

}  // namespace

GdbBreakpoints::Result GdbBreakpoints::insert(const GuestMemory& memory, Kind kind, uint64_t address, uint64_t length,
                                              std::optional<GuestAddress> where) {
  const Name name(kind, address, length);
  if (places_.contains(name)) return Result::kDone;
  if (places_.size() == kMost) return Result::kTooMany;
  Place place;
  if (kind == Kind::kSoftware && where && patch(memory, *where)) {
    place.patch = where;
  } else {
    const auto points = take_points(kind, address, length);
    if (!points) return Result::kNoRegisterFree;
    place.points = *points;
  }
  places_.emplace(name, place);
  return Result::kDone;
}

bool GdbBreakpoints::patch(const GuestMemory& memory, GuestAddress where) {
  Patch fresh;
  if (!memory.read(where, std::span(fresh.original).first(kBreakpoint.size()))) return false;
  ++patches_.try_emplace(where.value, fresh).first->second.users;
  write_code(memory, where, kBreakpoint);
  return true;
}

std::optional<unsigned> GdbBreakpoints::take_points(Kind kind, uint64_t address, uint64_t length) {
  const HardwarePoint::Kind as = point_kind(kind);
  unsigned taken = 0;
  const auto give_up = [&] {
    for (size_t i = 0; i < points_.size(); ++i) {
      if ((taken >> i & 1) != 0) points_[i].reset();
    }
    return std::nullopt;
  };
  if (as == HardwarePoint::Kind::kExecute) length = 1;
  if (length == 0) return std::nullopt;
  while (length > 0) {
    auto* const free = std::ranges::find_if(points_, [](const auto& point) { return !point; });
    if (free == points_.end()) return give_up();
    uint64_t size = kWidest;
    while (size > length || address % size != 0) size /= 2;
    *free = HardwarePoint{as, address, static_cast<unsigned>(size)};
    taken |= 1u << (free - points_.begin());
    length -= size;
    address += size;
  }
  return taken;
}

void GdbBreakpoints::remove(const GuestMemory& memory, Kind kind, uint64_t address, uint64_t length) {
  const auto found = places_.find({kind, address, length});
  if (found == places_.end()) return;
  give_back(memory, found->second);
  places_.erase(found);
}

void GdbBreakpoints::give_back(const GuestMemory& memory, const Place& place) {
  for (size_t i = 0; i < points_.size(); ++i) {
    if ((place.points >> i & 1) != 0) points_[i].reset();
  }
  if (!place.patch) return;
  const auto patch = patches_.find(place.patch->value);
  if (--patch->second.users > 0) return;
  // The guest may have put other code there since.
  std::array<std::byte, kMostBreakpoint> now{};
  const auto there = std::span(now).first(kBreakpoint.size());
  if (memory.read(*place.patch, there) && std::ranges::equal(there, kBreakpoint)) {
    write_code(memory, *place.patch, std::span(patch->second.original).first(kBreakpoint.size()));
  }
  patches_.erase(patch);
}

void GdbBreakpoints::remove_all(const GuestMemory& memory) {
  for (const auto& [name, place] : places_) give_back(memory, place);
  forget();
}

void GdbBreakpoints::settle(const GuestMemory& memory,
                            const std::function<std::optional<GuestAddress>(uint64_t)>& translate) {
  for (auto& [name, place] : places_) {
    const auto& [kind, address, length] = name;
    if (kind != Kind::kSoftware || place.patch) continue;
    const auto where = translate(address);
    if (!where || !patch(memory, *where)) continue;
    give_back(memory, place);
    place = {.patch = where, .points = 0};
  }
}

void GdbBreakpoints::forget() {
  places_.clear();
  patches_.clear();
  points_ = {};
}

GuestDebug GdbBreakpoints::debug() const {
  return {.catch_breakpoints = !patches_.empty(), .step = false, .points = points_};
}

std::optional<GdbBreakpoints::Met> GdbBreakpoints::met(size_t point, uint64_t pc) const {
  if (point >= points_.size() || !points_[point]) return std::nullopt;
  for (const auto& [name, place] : places_) {
    if ((place.points >> point & 1) == 0) continue;
    const auto& [kind, address, length] = name;
    const bool executes = points_[point]->kind == HardwarePoint::Kind::kExecute;
    if (executes && address != pc) return std::nullopt;
    return Met{kind, address};
  }
  return std::nullopt;
}

template <typename Patches, typename Visit>
void GdbBreakpoints::for_each_patched(Patches& patches, GuestAddress start, size_t size, Visit visit) {
  const uint64_t before = std::min<uint64_t>(start.value, kBreakpoint.size() - 1);  // one of these may reach into it
  for (auto patch = patches.lower_bound(start.value - before); patch != patches.end(); ++patch) {
    if (patch->first >= start.value && patch->first - start.value >= size) return;
    for (size_t i = 0; i < kBreakpoint.size(); ++i) {
      const uint64_t place = patch->first + i - start.value;
      if (place < size) visit(patch->second, i, place);
    }
  }
}

void GdbBreakpoints::hide(GuestAddress start, std::span<std::byte> bytes) const {
  for_each_patched(patches_, start, bytes.size(),
                   [bytes](const Patch& patch, size_t i, size_t place) { bytes[place] = patch.original[i]; });
}

bool GdbBreakpoints::write(const GuestMemory& memory, GuestAddress start, std::span<const std::byte> bytes) {
  if (!memory.slice(start, bytes.size())) return false;
  std::vector<std::byte> patched(bytes.begin(), bytes.end());
  for_each_patched(patches_, start, bytes.size(), [&patched](Patch& patch, size_t i, size_t place) {
    patch.original[i] = std::exchange(patched[place], kBreakpoint[i]);
  });
  return memory.write(start, patched);
}

}  // namespace vmm
