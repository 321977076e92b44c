// Session: a run from power-on to the exit code: boots, watches, obeys the person at the terminal, and reports.
//
// It owns the Machine of the current boot and builds the next one when the guest, or the person, resets it. What may
// end a run: the guest (power-off, reset, debug exit, a fault), a kernel panic seen on a console, a key, a signal, or a
// timeout. The first of them counts; then the machine comes to rest, disks are flushed, consoles drained, and one line
// says why, with what the black box found in memory where that helps.
#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "devices/backends/char/char_config.h"
#include "devices/backends/char/char_visitors.h"
#include "vmm/control/cli/command_line.h"
#include "vmm/control/gdb/debugger.h"
#include "vmm/control/session/core_dump.h"
#include "vmm/control/session/escape_keys.h"
#include "vmm/control/session/terminal.h"
#include "vmm/control/session/time_limit.h"
#include "vmm/control/socket/control_verbs.h"
#include "vmm/control/trace/boot_phases.h"
#include "vmm/control/trace/run_trace.h"
#include "vmm/control/trace/trace_maker.h"
#include "vmm/control/verdict/findings.h"
#include "vmm/control/verdict/ktap_log.h"
#include "vmm/control/verdict/log_judge.h"
#include "vmm/control/verdict/result.h"
#include "vmm/control/verdict/tap.h"
#include "vmm/control/verdict/verdict.h"
#include "vmm/core/event_loop.h"
#include "vmm/core/fd.h"
#include "vmm/kvm/stats.h"
#include "vmm/machine/backends.h"
#include "vmm/machine/config.h"
#include "vmm/machine/machine.h"
#include "vmm/machine/outcome.h"
#include "vmm/machine/panic_watch.h"

namespace vmm {

class Session : public Controls {
 public:
  // Blocks the signals it listens to, so no thread must have been started before. Throws Error when what the guest may
  // not print is no regular expression.
  Session(EventLoop& loop, const CommandLine& line, Backends& backends, EscapeKeys keys);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() override;

  // Throws Error when the machine cannot be started.
  Outcome run();
  // After run().
  RunResult result() const;
  RunTrace trace();  // of the last boot; with --trace

  // Hears of "paused", "resumed", "reset" and, with its verdict, "ended: panic".
  void set_on_event(std::function<void(std::string_view)> on_event) { on_event_ = std::move(on_event); }

  // What can be asked of it while it runs.
  Status status() const override;
  void pause() override;
  void resume() override;
  void reset() override;
  void press_power_button() override;
  void send_nmi() override;
  void send_sysrq(char key) override;
  void quit() override;
  Findings look_inside() override;
  void dump(const std::string& path, Done done) override;
  void balloon(const BalloonRequest& request, TellBalloon tell) override;
  Console find_console(std::string_view name) const override;
  void send_break(std::string_view console) override;
  void admit(std::string_view console, UniqueFd client, std::string_view typed) override;

 private:
  using Clock = std::chrono::steady_clock;

  // How often vCPUs left the guest: to this process, and what KVM counts.
  struct Counts {
    uint64_t exits = 0;
    std::vector<KvmStats::Value> kvm;
  };

  // What one console says, searched for a panic.
  struct WatchedConsole {
    explicit WatchedConsole(Session& session) : silence(session.loop_, [&] { session.on_panic(*this); }) {}
    PanicWatch watch;
    KtapLog ktap;
    bool told_of_init = false;
    Timer silence;
    std::chrono::duration<double> panicked_at{};  // since this boot began
    std::optional<Evidence::Panic> survived;      // a panic after which a crash kernel spoke
  };

  void boot();
  void begin_trace();
  void trace_console(std::string_view line);
  void watch_consoles();
  void stop_watching();
  void connect_split_gdb();
  // Name and configuration of a console: an index into backends_.streams().
  std::string console_name(size_t index) const;
  const CharConfig& console_config(size_t index) const;
  size_t console_index(std::string_view name) const;
  CharStream::Filter key_filter();
  void tell_window_size();
  void begin_command();
  void note_output();
  void command_wrote(bool is_error, std::span<const std::byte> bytes);
  void command_ended(const GuestCommand::Result& result);
  void obey(EscapeKeys::Command command);
  void on_signal();
  void guest_ended(const Outcome& outcome);
  void on_panic(const WatchedConsole& console);
  void crash_kernel_took_over(WatchedConsole& console, const std::string& reason);
  bool memory_knows_of_no_panic();
  bool keeps_crash_kernel() const;  // is the kernel told to keep memory for one?
  bool wait_with_panic(const std::string& reason);
  void hold_limits(bool held);
  void gdb_left();
  void look_for_hang();
  void finish(const Outcome& outcome);
  void restart(Outcome::Kind why);
  void stop_machine();
  void drain_command();
  void give_up_draining(const Outcome& decision);
  void give_up_stopping();
  void announce(std::string_view event) const;
  void require_alive() const;
  void take_hints();
  void ask_statistics();
  void tell_balloon();
  void start_dump(const std::string& path, Done done);
  void end_dump(const std::optional<Error>& trouble);
  void dump_for_person();
  void dump_the_dead();
  bool needs_explanation() const;
  Evidence gather_evidence();
  KtapLog find_ktap(const std::optional<Findings>& findings) const;
  const WatchedConsole* panicked_console() const;
  std::vector<std::string> last_log() const;
  // Counts of all boots so far.
  Counts counts() const;
  std::chrono::duration<double> elapsed() const { return Clock::now() - started_; }
  bool is_commands_own(const Outcome& outcome) const;
  void report(const Outcome& outcome) const;

  EventLoop& loop_;
  const CommandLine& line_;
  const MachineConfig& config_;
  Backends& backends_;
  EscapeKeys keys_;
  LogJudge judge_;    // before signals are blocked: one ends the wait for a pipe with what is allowed
  UniqueFd signals_;  // blocked before the terminal is changed, so that none comes between
  Terminal terminal_;
  FdWatch signal_watch_;
  Timer deadline_;
  TimeLimit timeout_;
  TimeLimit boot_timeout_;
  TimeLimit idle_timeout_;
  Timer hang_look_;

  const Clock::time_point started_;
  Clock::time_point boot_started_;
  Counts earlier_;  // counts of the boots before this one
  // Moments of this boot, for its trace.
  struct Traced {
    Clock::time_point start;
    TraceClock::Moment built;
    BootLog log;
    std::optional<Clock::time_point> command_start;
    std::optional<Clock::time_point> stop;
  };
  std::optional<Traced> traced_;
  TapParser tap_;  // what the command printed, where somebody wants to know
  KtapLog ktap_;   // what the guest reported by itself, once it has ended
  std::function<void(std::string_view)> on_event_;
  std::list<WatchedConsole> consoles_;
  std::list<CharVisitors> visitors_;  // of backends_.streams(), in their order
  HangWatch hangs_;
  std::unique_ptr<Debugger> debugger_;
  std::unique_ptr<Machine> machine_;
  std::optional<CoreDump> dump_;  // while one is written
  Done dump_done_;
  bool runs_after_dump_ = false;
  std::optional<uint64_t> balloon_size_;  // size that somebody asked for; every boot has it then
  std::vector<TellBalloon> balloon_asked_;
  Timer balloon_patience_;
  std::vector<TellBalloon> hints_asked_;
  Timer hints_patience_;
  std::string vmcore_;              // path of the end's vmcore, when it was written
  std::optional<Outcome> outcome_;  // of this boot, once it is ending
  Evidence evidence_;               // evidence of how it ended
  std::chrono::duration<double> lasted_{};
  bool panic_shown_ = false;  // this boot's panic was shown to somebody who was to decide
  bool restarting_ = false;
  bool draining_ = false;
  bool flushed_ = true;
  std::string stuck_;  // what did not come to rest at the end, in words; empty: nothing
};

}  // namespace vmm
