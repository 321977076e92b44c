// TestVm: the real vmm as a child process, with its streams in a test's hands.
//
//   TestVm vm({"--kernel", image("KERNEL", "bzImage"), "--initrd", image("TINY", "initramfs.cpio.gz")});
//   vm.wait_for("tiny: ready");
//   REQUIRE(vm.run("nproc") == "1");
//   vm.send("poweroff\n");
//   REQUIRE(vm.wait_exit() == 0);
//
// The program is $VMM, else build/vmm/vmm. What does not come in time is an exception whose text ends with what did.
#pragma once

#include <sys/types.h>
#include <termios.h>

#include <chrono>
#include <csignal>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/core/fd.h"

namespace vmm::test {

class TestVm {
 public:
  // Long enough for an emulated machine that runs a full system.
  static constexpr std::chrono::seconds kPatience{120};

  struct Options {
    bool terminal = false;     // a pty of 80 columns and 24 rows as standard input and output, else pipes
    bool background = false;   // a shell on that terminal starts it with &, and stty tostop
    bool full_output = false;  // standard output is /dev/full
    bool no_streams = false;   // descriptors 0 to 2 are closed
    uid_t user = 0;            // not 0: as that user, and in no group but the one of that number
  };

  explicit TestVm(const std::vector<std::string>& arguments) : TestVm(arguments, Options()) {}
  TestVm(const std::vector<std::string>& arguments, const Options& options);
  TestVm(const TestVm&) = delete;
  TestVm& operator=(const TestVm&) = delete;
  ~TestVm();  // kills it if it still runs

  pid_t pid() const { return pid_; }
  void send(std::string_view text);
  void close_input() { input_ = UniqueFd(); }
  void close_output() { output_.fd = UniqueFd(); }  // nobody reads it any more
  // Reads on until `text` has come on standard output after what earlier calls took; returns what came before it.
  std::string wait_for(std::string_view text, std::chrono::seconds patience = kPatience);
  // The same for standard error.
  std::string wait_for_message(std::string_view text, std::chrono::seconds patience = kPatience);
  // What a command printed on the guest's shell, without the last newline.
  std::string run(const std::string& command, std::chrono::seconds patience = kPatience);
  // Starts a command in the background of the guest's shell; `wait` waits for it. It does not share the shell's
  // terminal, where it would be stopped as soon as a line is typed, and `wait` return at once.
  void start(const std::string& command) { run("{ { " + command + "; } </dev/null & }"); }
  // The same for a TCP server, and waits until it listens.
  void start_server(uint16_t port, const std::string& command);
  // Reads until there has been silence; for what must not come.
  void settle(std::chrono::milliseconds silence);

  void signal(int number) const { ::kill(pid_, number); }
  // Its exit status, or 128 + signal. Goes on reading meanwhile, or not.
  int wait_exit(std::chrono::seconds patience = kPatience) { return wait_exit(patience, true); }
  int wait_exit_unread(std::chrono::seconds patience = kPatience) { return wait_exit(patience, false); }

  const std::string& output() const { return output_.text; }  // all of standard output so far
  const std::string& messages() const { return messages_.text; }

  void resize(unsigned short rows, unsigned short columns) const;
  termios terminal_modes() const;

 private:
  struct Stream {
    UniqueFd fd;
    std::string text;
    size_t taken = 0;  // by wait_for()
  };
  using Clock = std::chrono::steady_clock;

  int wait_exit(std::chrono::seconds patience, bool reading);
  std::string wait_in(Stream& stream, std::string_view text, std::chrono::seconds patience);
  // Reads what is there, waiting for it, or for the end of the process, until `deadline`.
  void read_some(Clock::time_point deadline, bool reading = true);
  bool read_stream(Stream& stream);
  bool ended();

  pid_t pid_ = -1;
  UniqueFd process_;   // pidfd
  UniqueFd input_;     // or the pty
  UniqueFd terminal_;  // the pty's other side, kept so that its modes can be looked at afterwards
  Stream output_, messages_;
  int status_ = -1;
};

// The path of a guest image's file; the folder is named by $VMM_IMAGES_<name>, as `guest-images/get` prints it.
std::string image(const std::string& name, const std::string& file);

}  // namespace vmm::test
