// FakeGdbTarget: a machine for gdb's stub that has registers and memory, and only writes down what it was told to do.
//
// Paging is off, so a virtual address is a physical one, until a test sets CR0 and builds tables.
#pragma once

#include <fmt/core.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "vmm/control/gdb/gdb_registers_x86_64.h"
#include "vmm/control/gdb/gdb_target.h"

namespace vmm::test {

struct FakeGdbTarget : GdbTarget {
  explicit FakeGdbTarget(unsigned count = 2) : files(count) {}

  unsigned cpus() const override { return static_cast<unsigned>(files.size()); }
  const GdbRegisters& register_table() const override { return table; }
  const GuestMemory& memory() const override { return ram; }
  bool kernel_in_place() const override { return in_place; }
  void stop() override { note("stop"); }
  std::vector<Event> take_events() override { return std::exchange(events, {}); }
  RegisterFile registers(unsigned cpu) const override { return file_of(files[cpu]); }
  bool set_registers(unsigned cpu, const RegisterFile&, const RegisterFile& wanted) override {
    if (!refuses) files[cpu] = registers_of(wanted);
    return !refuses;
  }
  CpuState cpu_state(unsigned cpu) const override {
    const kvm_sregs& system = files[cpu].system;
    return {.id = cpu,
            .registers = X86Registers{.rip = files[cpu].general.rip,
                                      .cr0 = system.cr0,
                                      .cr3 = system.cr3,
                                      .cr4 = system.cr4,
                                      .efer = system.efer}};
  }
  std::optional<GuestAddress> translate(unsigned, uint64_t) const override { return std::nullopt; }
  std::string_view activity(unsigned cpu) const override { return cpu == 0 ? "running" : "halted"; }
  void give_to_guest(const Event& event) override { note(fmt::format("give{}", event.cpu)); }
  void go(std::span<const Order> orders, const GuestDebug& wanted) override {
    std::string text = "go:";
    for (const Order& order : orders) {
      text += order.run == Run::kStay ? "stay" : order.run == Run::kGo ? "go" : "step";
      if (order.range_end != 0) text += fmt::format("{:x}-{:x}", order.range_start, order.range_end);
      text += ",";
    }
    debug = wanted;
    note(text);
  }
  void leave() override { note("leave"); }
  void kill() override { note("kill"); }
  std::optional<Kaslr> kaslr() override {
    constexpr uint64_t kLinked = 0xffffffff81000000;
    return offset ? std::optional(Kaslr{*offset, kLinked + *offset}) : std::nullopt;
  }
  std::string monitor(std::string_view command) override { return "did " + std::string(command); }

  void note(const std::string& call) { calls += call + " "; }
  std::string take_calls() { return std::exchange(calls, {}); }
  std::string bytes(uint64_t address, size_t length) const {
    std::string text(length, '\0');
    ram.read(GuestAddress{address}, std::as_writable_bytes(std::span(text)));
    return text;
  }
  void put(uint64_t address, std::string_view text) const {
    ram.write(GuestAddress{address}, std::as_bytes(std::span(text)));
  }

  static constexpr std::array<GuestMemory::Range, 1> kRam{{{{0}, 0x100000}}};
  GuestMemory ram{kRam};
  GdbRegisters table = gdb_registers(true);
  std::vector<CpuRegisters> files;
  std::vector<Event> events;
  GuestDebug debug;
  std::optional<uint64_t> offset;  // of KASLR
  bool in_place = true;
  bool refuses = false;
  std::string calls;
};

}  // namespace vmm::test
