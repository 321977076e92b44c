// BootPhases: what a Linux guest was about from the first instruction to its end, put on the clock of the run.
//
// What is known for certain are moments of the host: when the vCPU first ran, when an exit first came out of kernel
// code, when a command was started, when everything was over. The kernel's log says how long things took, on a clock of
// its own that begins in setup_arch(), early in start_kernel(). That clock is put on the host's by whatever comes
// soonest: a line that was seen on a console when it had just been stamped, or the first exit out of kernel code
// (setup_arch() reads PCI configuration space), which is a few milliseconds late at most. What nothing tells is said in
// a note.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/control/trace/run_trace.h"

namespace vmm {

// Lines of a kernel's log, from wherever they are had. All times are seconds. They are the guest's to forge.
class BootLog {
 public:
  // "[    1.234567] text", seen at `now`, since the run began.
  void console_line(std::string_view line, double now);
  // A line with its stamp on the kernel's clock.
  void line(double stamp, std::string_view text);

  // When the kernel's clock began, since the run began: not later than that.
  std::optional<double> clock_start() const { return clock_start_; }
  // On the kernel's clock.
  std::optional<double> initcalls() const { return initcalls_; }  // the first of them
  std::optional<double> init() const { return init_; }            // when they were over, and init was started
  std::optional<double> last() const { return last_; }

 private:
  std::optional<double> clock_start_, initcalls_, init_, last_;
};

// Whether this line of a kernel's log, with its stamp or without, says that init is started, or just about to be.
bool tells_of_init(std::string_view line);

// Moments of the host, in seconds since the run began.
struct BootMoments {
  double first_entry = 0;               // the first KVM_RUN
  std::optional<double> kernel_exit;    // the first exit out of kernel code
  std::optional<double> command_start;  // of `-- CMD`
  double stop = 0;                      // the guest does not run any more
  double end = 0;                       // disks are flushed, and what was to be said is said
  bool compressed = false;              // the kernel unpacks itself first: a bzImage
};

// From 0 to `end` without a gap. Adds to `notes` what could not be told, and why.
std::vector<RunTrace::Phase> boot_phases(const BootMoments& moments, const BootLog& log,
                                         std::vector<std::string>& notes);

}  // namespace vmm
