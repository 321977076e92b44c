// Terminal: the person's terminal in raw mode, and back again whatever happens.
//
// Raw mode sends every key to the guest. It is left when the Terminal is destroyed, and by handlers of all signals that
// end a process (SIGSEGV, SIGALRM and the like), so that nobody is left with a dead shell. In the background the
// terminal is left alone.
#pragma once

#include <cstdint>
#include <optional>

namespace vmm {

class Terminal {
 public:
  // Raw mode, if `wanted`, standard input is a terminal and this process is in its foreground; else nothing is changed.
  explicit Terminal(bool wanted);
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
  ~Terminal();

  bool raw() const { return raw_; }
  // After SIGCONT: whoever stopped us has probably reset the terminal.
  void enter_raw_mode();
  void restore();

  struct Size {
    uint16_t columns;
    uint16_t rows;
  };
  // Size of the terminal on standard output, else on input; empty when neither is one.
  static std::optional<Size> size();

 private:
  bool raw_ = false;
};

}  // namespace vmm
