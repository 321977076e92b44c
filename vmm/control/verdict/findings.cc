// Putting the black box into words; see findings.h.
#include "vmm/control/verdict/findings.h"

#include <fmt/core.h>

#include <algorithm>

#include "vmm/blackbox/black_box.h"
#include "vmm/control/trace/boot_phases.h"
#include "vmm/machine/panic_watch.h"

namespace vmm {

namespace {

constexpr size_t kFramesShown = 16;

// A crash kernel is told where the memory of the one that died is described: on its command line, or in a device tree.
bool tells_of_crash_kernel(std::string_view text) {
  return (text.find("ommand line: ") != text.npos && text.find(" elfcorehdr=") != text.npos) ||
         text.ends_with(" for elfcorehdr");
}

// The innermost frame with its offset, to tell one spinning place from another.
std::string frame_text(const Frame& frame, bool innermost) {
  const std::string mark = frame.sure ? "" : "? ";
  if (frame.symbol.empty()) return fmt::format("{}{:#x}", mark, frame.address);
  if (!innermost) return mark + frame.symbol;
  return fmt::format("{}{}+{:#x}", mark, frame.symbol, frame.offset);
}

std::string stack_text(std::span<const Frame> frames) {
  std::string text;
  for (size_t i = 0; i < std::min(frames.size(), kFramesShown); ++i) {
    text += (i == 0 ? "" : " < ") + frame_text(frames[i], i == 0);
  }
  return frames.size() > kFramesShown ? text + " < ..." : text;
}

// Without a kernel's symbols.
std::string place_text(const CpuState& cpu) {
  const X86Registers* x86 = cpu.x86();
  if (x86 == nullptr) return fmt::format("PC {:#x}", cpu.pc());
  if (!x86->in_real_mode()) return fmt::format("RIP {:#x}", x86->rip);
  return fmt::format("{:04x}:{:04x} in real mode (there is no BIOS)", x86->cs.selector, x86->rip);
}

// Entries of arch/x86/entry/entry_64.S and arch/arm64/kernel/entry.S.
bool enters_system_call(const Frame& frame) {
  return frame.sure && (frame.symbol.starts_with("entry_SYSCALL_64") || frame.symbol == "el0t_64_sync");
}

bool came_from_user_space(const BlackBox& box, const CpuState& cpu) {
  return cpu.in_user_space() || std::ranges::any_of(box.stack(cpu), enters_system_call);
}

Findings::Cpu describe(const BlackBox& box, const CpuState& cpu) {
  Findings::Cpu found;
  found.id = cpu.id;
  const std::vector<Frame> frames = box.stack(cpu);
  for (const Frame& frame : std::span(frames).first(std::min(frames.size(), kFramesShown))) {
    found.stack.push_back(frame_text(frame, found.stack.empty()));
  }
  if (cpu.activity != CpuState::Activity::kNotStarted) {
    found.place = found.stack.empty() ? fmt::format("{:#x}", cpu.pc()) : found.stack.front();
  }
  const auto panic = std::ranges::find_if(
      frames, [](const Frame& frame) { return frame.sure && (frame.symbol == "panic" || frame.symbol == "vpanic"); });
  if (panic != frames.end()) {
    // The caller of vpanic() is panic().
    auto caller = std::ranges::find_if(
        panic, frames.end(), [](const Frame& frame) { return frame.symbol != "panic" && frame.symbol != "vpanic"; });
    found.panicked = true;
    for (; caller != frames.end(); ++caller) {
      found.doing += (found.doing.empty() ? "" : " < ") + frame_text(*caller, false);
    }
    return found;
  }
  const bool halted = cpu.activity == CpuState::Activity::kHalted;
  if (cpu.activity == CpuState::Activity::kNotStarted) {
    found.doing = "not started";
  } else if (cpu.in_user_space()) {
    found.doing = fmt::format("in user space at {:#x}", cpu.pc());
  } else if (frames.empty()) {
    found.doing = (halted ? "halted at " : "at ") + place_text(cpu);
  } else {
    found.doing = fmt::format("{} {}", halted ? "halted in" : "in", stack_text(frames));
  }
  return found;
}

}  // namespace

Findings Findings::of(const PhysicalMemory& memory, std::span<const CpuState> cpus, std::string_view vmcoreinfo) {
  const BlackBox box(memory, cpus, vmcoreinfo);
  Findings findings;
  if (!box.release().empty()) {
    findings.kernel = "Linux " + box.release();
    if (box.kaslr_offset()) {
      findings.kaslr = fmt::format("{:#x}", *box.kaslr_offset());
      findings.kernel += ", KASLR offset " + findings.kaslr;
    }
  }
  findings.log_whole = box.log().whole;
  findings.user_space = box.log().by_programs;
  PanicWatch watch;
  for (const LogLine& line : box.log().lines) {
    const bool before = watch.reason().has_value();
    const std::string text = line.format();
    findings.user_space = findings.user_space || tells_of_init(text);
    findings.crash_kernel = findings.crash_kernel || tells_of_crash_kernel(line.text);
    findings.log.push_back(text);
    watch.feed(std::as_bytes(std::span(text)));
    watch.feed(std::as_bytes(std::span("\n", 1)));
    if (!watch.reason()) {
      findings.panic.reset();
    } else if (!before) {
      findings.panic = {*watch.reason(), static_cast<double>(line.nanoseconds) / 1e9};
    }
  }
  for (const CpuState& cpu : cpus) {
    findings.cpus.push_back(describe(box, cpu));
    findings.user_space = findings.user_space || (!findings.kernel.empty() && came_from_user_space(box, cpu));
  }
  findings.troubles = box.troubles();
  return findings;
}

std::string Findings::stacks() const {
  std::string text;
  for (const Cpu& cpu : cpus) {
    text += cpu.panicked ? fmt::format("  stack: {}\n", cpu.doing) : fmt::format("  vCPU {}: {}\n", cpu.id, cpu.doing);
  }
  for (const std::string& trouble : troubles) text += fmt::format("  {}\n", trouble);
  return text;
}

std::string Findings::log_tail(size_t count) const {
  std::string text;
  for (size_t i = log.size() - std::min(count, log.size()); i < log.size(); ++i) text += "  | " + log[i] + "\n";
  return text;
}

}  // namespace vmm
