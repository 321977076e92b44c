// What is printed to a standard output that takes nothing.
#include "vmm/core/standard_output.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <functional>
#include <string>

#include "vmm/core/error.h"
#include "vmm/core/fd.h"

using namespace vmm;

namespace {

// Does finish_print() complain in a process whose standard output is this descriptor?
bool complains(const UniqueFd& output, const std::function<void()>& prints) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::signal(SIGPIPE, SIG_IGN);
    ::dup2(output.get(), STDOUT_FILENO);
    prints();
    try {
      finish_print();
    } catch (const Error&) {
      ::_exit(7);
    }
    ::_exit(0);
  }
  int status = -1;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 7;
}

UniqueFd full() { return UniqueFd(::open("/dev/full", O_WRONLY | O_CLOEXEC)); }

}  // namespace

TEST_CASE("standard output: what does not fit into its buffer is missed like the rest", "[stdout]") {
  CHECK(complains(full(), [] { print(std::string(100'000, 'x')); }));
  CHECK(complains(full(), [] { print("a few words"); }));
}

TEST_CASE("standard output: an early loss is not forgotten when the end could be written", "[stdout]") {
  CHECK(complains(full(), [] {
    print("lost");
    flush_print();
    ::close(STDOUT_FILENO);
    ::open("/dev/null", O_WRONLY);
    print("written");
  }));
}

TEST_CASE("standard output: a reader who went away has read enough", "[stdout]") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  ::close(ends[0]);
  CHECK_FALSE(complains(UniqueFd(ends[1]), [] { print(std::string(100'000, 'x')); }));
}

TEST_CASE("standard output: what is written is no loss", "[stdout]") {
  CHECK_FALSE(complains(UniqueFd(::open("/dev/null", O_WRONLY | O_CLOEXEC)), [] { print(std::string(100'000, 'x')); }));
}
