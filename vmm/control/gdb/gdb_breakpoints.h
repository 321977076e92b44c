// GdbBreakpoints: the breakpoints and watchpoints that gdb has inserted, and where they are.
//
// A software breakpoint is an instruction in guest memory, at the physical address that its page had at the time; what
// was there is shown in its place to whoever reads through the stub. One whose page is not there yet, as in a kernel
// that has not unpacked itself, takes one of the CPU's debug registers, which go by the virtual address. Watchpoints do
// so too; one of a length that no register has takes several.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <tuple>
#include <vector>

#include "vmm/core/guest_memory.h"
#include "vmm/kvm/guest_debug.h"

namespace vmm {

class GdbBreakpoints {
 public:
  enum class Kind { kSoftware, kHardware, kWrite, kAccess };
  enum class Result { kDone, kNoRegisterFree, kTooMany };
  static constexpr size_t kMost = 65536;  // of all kinds

  // `where`: the physical address of a software breakpoint, if it has one. Inserting one again does nothing, nor does
  // removing what is not there.
  Result insert(const GuestMemory& memory, Kind kind, uint64_t address, uint64_t length,
                std::optional<GuestAddress> where);
  void remove(const GuestMemory& memory, Kind kind, uint64_t address, uint64_t length);
  void remove_all(const GuestMemory& memory);
  // Software breakpoints that had no memory yet are put where `translate` says there is some now.
  void settle(const GuestMemory& memory, const std::function<std::optional<GuestAddress>(uint64_t)>& translate);
  // Memory is another's, or nobody's: there is nothing to be put back.
  void forget();

  // What the vCPUs are to stop for.
  GuestDebug debug() const;
  // Whether the breakpoint instruction there is of ours.
  bool is_patched(GuestAddress where) const { return patches_.contains(where.value); }
  struct Met {
    Kind kind;
    uint64_t address;  // as it was inserted, or that of the watched data
  };
  // What a debug register stands for, if it is in use and, being a breakpoint, at `pc`.
  std::optional<Met> met(size_t point, uint64_t pc) const;

  // Puts what was there before us into `bytes`, which were read at `start`.
  void hide(GuestAddress start, std::span<std::byte> bytes) const;
  // Writes to memory around the breakpoints. False when it is no RAM.
  bool write(const GuestMemory& memory, GuestAddress start, std::span<const std::byte> bytes);

 private:
  using Name = std::tuple<Kind, uint64_t, uint64_t>;
  struct Place {
    std::optional<GuestAddress> patch;
    unsigned points = 0;  // bits: its debug registers
  };
  struct Patch {
    std::array<std::byte, kMostBreakpoint> original{};  // as many as the instruction has
    unsigned users = 0;
  };

  // The registers that would do, or nothing when too few are free.
  std::optional<unsigned> take_points(Kind kind, uint64_t address, uint64_t length);
  bool patch(const GuestMemory& memory, GuestAddress where);
  // Calls `visit(patch, its byte, the place in the stretch)` for every byte of a patch that lies in it.
  template <typename Patches, typename Visit>
  static void for_each_patched(Patches& patches, GuestAddress start, size_t size, Visit visit);
  void give_back(const GuestMemory& memory, const Place& place);

  std::map<Name, Place> places_;
  std::map<uint64_t, Patch> patches_;  // by physical address
  std::array<std::optional<HardwarePoint>, GuestDebug::kPoints> points_;
};

}  // namespace vmm
