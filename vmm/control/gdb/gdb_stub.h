// GdbStub: what gdb asks, answered by a machine. See appendix E of the gdb manual for the packets.
//
// All-stop: the whole machine stops when one vCPU meets something, and the vCPUs are gdb's threads, vCPU 0 being thread
// 1. The stub takes payloads in and gives payloads out; it knows no sockets, and whatever comes, it does not throw.
//
// The first packet stops the machine. detach(), asked for by gdb or because it is gone, takes all breakpoints out and
// lets the machine run. A breakpoint or a debug exception that is the guest's own goes to the guest.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/control/gdb/gdb_breakpoints.h"
#include "vmm/control/gdb/gdb_memory.h"
#include "vmm/control/gdb/gdb_packet.h"
#include "vmm/control/gdb/gdb_target.h"

namespace vmm {

class GdbStub {
 public:
  using Send = std::function<void(std::string_view payload)>;

  GdbStub(GdbTarget& target, Send send);

  void packet(std::string_view payload);
  void interrupt();  // Ctrl-C
  void detach();

  // A vCPU has met something: called when the machine stands still.
  void on_event();
  // The machine is another one, which stands before its first instruction.
  void on_new_machine();

  bool attached() const { return attached_; }
  bool running() const { return running_; }
  bool acknowledges() const { return acknowledges_; }  // packets, as gdb has not asked not to

 private:
  // Nothing: it comes later, or never.
  using Answer = std::optional<std::string>;
  struct Command {
    std::string_view name;
    Answer (GdbStub::*serve)(GdbWords words);
  };
  // What gdb is told of when it stops.
  struct Stop {
    unsigned cpu = 0;
    unsigned signal = 5;  // SIGTRAP
    std::string why;      // "swbreak:;"
  };

  Answer answer(std::string_view payload);
  Answer tell_stop(GdbWords words);
  Answer tell_supported(GdbWords words);
  Answer tell_threads(GdbWords words);
  Answer tell_no_more(GdbWords words);
  Answer tell_thread(GdbWords words);
  Answer tell_current(GdbWords words);
  Answer tell_attached(GdbWords words);
  Answer tell_offsets(GdbWords words);
  Answer choose_thread(GdbWords words);
  Answer is_alive(GdbWords words);
  Answer transfer(GdbWords words);
  Answer monitor(GdbWords words);
  Answer acknowledge_no_more(GdbWords words);
  Answer accept(GdbWords words);
  Answer read_registers(GdbWords words);
  Answer write_registers(GdbWords words);
  Answer read_register(GdbWords words);
  Answer write_register(GdbWords words);
  Answer read_memory(GdbWords words);
  Answer write_digits(GdbWords words);
  Answer write_bytes(GdbWords words);
  Answer insert_breakpoint(GdbWords words);
  Answer remove_breakpoint(GdbWords words);
  Answer resume_each(GdbWords words);
  Answer go_on(GdbWords words);
  Answer step(GdbWords words);
  Answer kill(GdbWords words);
  Answer leave(GdbWords words);

  Answer write_memory(GdbWords words, bool digits);
  Answer go(std::vector<GdbTarget::Order> orders);
  // A thread's vCPU, the chosen one for "any". Nothing when there is none such.
  std::optional<unsigned> cpu_of(std::string_view thread) const;
  std::optional<std::vector<GdbTarget::Order>> parse_actions(GdbWords words) const;
  std::string threads_document() const;
  std::string text_of(const Stop& stop) const;
  // Nothing when it is no affair of gdb's; then it was dealt with.
  std::optional<Stop> reason_of(const GdbTarget::Event& event);
  std::optional<Stop> kernel_entered(unsigned cpu);
  std::optional<Stop> met_point(const GdbTarget::Event& event) const;
  void stop_at(const Stop& stop);

  static const std::vector<Command> kCommands;

  GdbTarget& target_;
  Send send_;
  GdbBreakpoints breakpoints_;
  GdbMemory memory_;
  bool attached_ = false;
  bool running_ = true;
  bool acknowledges_ = true;
  bool says_why_ = false;     // gdb understands swbreak and hwbreak
  unsigned cpu_ = 0;          // whose registers and memory are meant
  uint64_t told_offset_ = 0;  // KASLR's offset that gdb has been told
  Stop last_stop_;
  std::vector<GdbTarget::Order> orders_;   // orders by which the machine runs
  std::vector<GdbTarget::Event> waiting_;  // met at the same time as one that was reported
};

}  // namespace vmm
