// The vmcores of a session: one that somebody asks for, and the one that a guest leaves when it dies. See session.h.
#include <fmt/core.h>

#include <utility>

#include "vmm/control/session/session.h"
#include "vmm/core/error.h"
#include "vmm/core/log.h"

namespace vmm {

namespace {

void complain(const Error& error) {
  log_error("{}", error.what());
  if (!error.fix().empty()) log_error("  fix: {}", error.fix());
}

}  // namespace

void Session::dump(const std::string& path, Done done) {
  if (outcome_) throw Error("the machine is ending");
  if (debugger_->attached())
    throw Error("gdb has the machine, and may have breakpoints in its memory", "detach gdb first");
  if (dump_) throw Error(fmt::format("vmcore '{}' is being written already", dump_->path()), "wait for that");
  start_dump(path, std::move(done));
}

// Where it was running it goes on when the vmcore is written.
void Session::start_dump(const std::string& path, Done done) {
  const bool running = !machine_->paused() && !machine_->ended();
  if (running) machine_->pause();
  try {
    machine_->look_inside([&](const GuestMemory& memory, std::span<const CpuState> cpus) {
      dump_.emplace(loop_, path, memory, cpus, [this](const std::optional<Error>& trouble) { end_dump(trouble); });
    });
  } catch (const Error&) {
    if (running) machine_->resume();
    throw;
  }
  idle_timeout_.cancel();
  runs_after_dump_ = running;
  dump_done_ = std::move(done);
}

void Session::end_dump(const std::optional<Error>& trouble) {
  dump_.reset();
  if (std::exchange(runs_after_dump_, false) && !debugger_->holds_machine()) {
    machine_->resume();
    note_output();
  }
  std::exchange(dump_done_, nullptr)(trouble);
}

void Session::dump_for_person() {
  const std::string path = line_.vmcore.empty() ? "vmcore" : line_.vmcore;
  try {
    dump(path, [path](const std::optional<Error>& trouble) {
      trouble ? complain(*trouble) : log_info("vmcore: {}", how_to_open(path));
    });
    log_info("writing vmcore '{}'; the machine stands still", path);
  } catch (const Error& error) {
    complain(error);
  }
}

// The loop turns meanwhile, so that a person can give up on it.
void Session::dump_the_dead() {
  if (line_.vmcore.empty() || !outcome_->is_death()) return;
  try {
    start_dump(line_.vmcore, [this](const std::optional<Error>& trouble) {
      trouble ? complain(*trouble) : void(vmcore_ = line_.vmcore);
      loop_.stop();
    });
  } catch (const Error& error) {
    return complain(error);
  }
  while (dump_) loop_.run();
}

}  // namespace vmm
