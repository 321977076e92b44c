// Vmcores of machines that die, and of those that live on: payload kernels on whatever KVM there is.
#include <sys/resource.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/support/descriptors.h"
#include "tests/support/payload.h"
#include "tests/support/temp_file.h"
#include "tests/support/test_vm.h"

using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

constexpr auto kEscape = "\x01";

// What another vmm says to these words.
std::string say(const std::vector<std::string>& words, int status = 0) {
  TestVm client(words);
  CHECK(client.wait_exit() == status);
  return client.output() + client.messages();
}

size_t files_in(const std::string& folder) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

// Programs that are started meanwhile may not write longer files.
struct FileSizeLimit {
  explicit FileSizeLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before);
    const rlimit limit{bytes, before.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() { ::setrlimit(RLIMIT_FSIZE, &before); }
  rlimit before{};
};

}  // namespace

TEST_CASE("vmcore: every death of a guest leaves one, which is told of", "[payload][vmcore]") {
  const auto [words, limit, status] =
      GENERATE(table<std::string, std::string, int>({{"case=triple-fault", "100", 98},
                                                     {"case=unknown-instruction", "100", 99},
                                                     {"case=spin", "100", 102},
                                                     {"case=compute millions=1000000", "3", 124}}));
  const TempDirectory folder;
  TestVm vm(payload(
      words, {"--vmcore", folder("core"), "--result", folder("r.json"), "--hang-timeout", "0.5", "--timeout", limit}));
  CHECK(vm.wait_exit() == status);
  CHECK_THAT(vm.messages(), Contains("  core: " + folder("core") + " (open: drgn -c "));
  CHECK(nlohmann::json::parse(contents(folder("r.json")))["vmcore"] == folder("core"));
  CHECK(files_in(folder.path()) == 2);
  struct stat file {};
  REQUIRE(::stat(folder("core").c_str(), &file) == 0);
  CHECK((file.st_mode & 0777) == 0600);
  CHECK(file.st_size > 64 << 20);
  CHECK(file.st_blocks * 512 < 8 << 20);
  CHECK_THAT(say({"why", folder("core")}), Contains("no kernel that is understood") && Contains("vCPU 0: "));
}

TEST_CASE("vmcore: a guest that ends well leaves none", "[payload][vmcore]") {
  const TempDirectory folder;
  TestVm vm(payload("case=power-off", {"--vmcore", folder("core")}));
  CHECK(vm.wait_exit() == 0);
  CHECK_THAT(vm.messages(), !Contains("core"));
  CHECK(files_in(folder.path()) == 0);
}

TEST_CASE("vmcore: where there is no room the verdict stays, and nothing is left behind", "[payload][vmcore]") {
  const TempDirectory folder;
  const FileSizeLimit limit(16 << 20);
  TestVm vm(payload("case=triple-fault", {"--vmcore", folder("core")}));
  CHECK(vm.wait_exit() == 98);
  CHECK_THAT(vm.messages(), Contains("vmm: cannot write vmcore '" + folder("core") +
                                     "': File too large\n  fix: ulimit -f unlimited\n"));
  CHECK_THAT(vm.messages(), !Contains("  core: "));
  CHECK(files_in(folder.path()) == 0);
}

TEST_CASE("result: a limit on files is told, and what mends it", "[payload]") {
  const TempDirectory folder;
  const FileSizeLimit limit(64);
  TestVm vm(payload("case=hello", {"--result", folder("r.json")}));
  CHECK(vm.wait_exit() == 125);
  CHECK_THAT(vm.messages(),
             Contains("vmm: cannot write '" + folder("r.json") + "': File too large\n  fix: ulimit -f unlimited\n"));
  CHECK(files_in(folder.path()) == 0);
}

TEST_CASE("vmcore: a place that cannot have one is refused before anything starts", "[payload][vmcore]") {
  CHECK_THAT(say(payload("case=hello", {"--vmcore", "/nonexistent/core"}), 125), Contains("No such file or directory"));
  CHECK_THAT(say(payload("case=hello", {"--vmcore", "/dev/null"}), 125), Contains("it is no file"));
}

TEST_CASE("vmcore: one of a running machine is had by its name, and it goes on", "[payload][vmcore][control]") {
  const TempDirectory folder;
  TestVm vm(payload("case=spin", {"--ctl", folder("s"), "--hang-timeout", "none"}));
  vm.wait_for("payload: spinning\n");
  CHECK_THAT(say({"dump", folder("s"), "-o", folder("core")}), Contains("vmcore: " + folder("core")));
  CHECK_THAT(say({"stats", folder("s")}), Contains("running"));
  CHECK_THAT(say({"why", folder("core")}), Contains("vCPU 0: in user space"));
  CHECK(say({"pause", folder("s")}).empty());
  CHECK_THAT(say({"dump", folder("s"), folder("again")}), Contains("vmcore: "));
  CHECK_THAT(say({"stats", folder("s")}), Contains("paused"));
  CHECK_THAT(say({"dump", folder("s"), folder("none/core")}, 125), Contains("No such file"));
  CHECK_THAT(say({"dump", folder("s"), folder.path()}, 125), Contains("it is no file"));
  CHECK(say({"kill", folder("s")}).empty());
  CHECK(vm.wait_exit() == 130);
}

TEST_CASE("vmcore: a key writes one", "[payload][vmcore]") {
  const TempDirectory folder;
  TestVm vm(payload("case=spin", {"--vmcore", folder("core"), "--hang-timeout", "none"}), {.terminal = true});
  vm.wait_for("payload: spinning");
  vm.send(kEscape + std::string("d"));
  vm.wait_for_message("vmcore: " + folder("core") + " (open: drgn");
  CHECK(std::filesystem::exists(folder("core")));
  vm.send(kEscape + std::string("x"));
  CHECK(vm.wait_exit() == 130);
}

TEST_CASE("vmcore: a name that is neither a machine nor a file is said to be", "[payload][vmcore]") {
  CHECK_THAT(say({"why", "/nonexistent/core"}, 125), Contains("no machine") && Contains("no vmcore of that name"));
  const TempDirectory folder;
  CHECK_THAT(say({"dmesg", folder.file("text", "no core at all")}, 125), Contains("cannot read vmcore"));
}
