// Guests that do what no driver does: nothing of it may end the machine, and everything works afterwards. The payload
// checks the answers and ends with 0 when all were right; what was not is in its output.
#include <sys/stat.h>

#include <catch2/catch.hpp>

#include "tests/support/payload.h"
#include "tests/support/temp_file.h"
#include "tests/support/test_vm.h"

using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

// Runs a case with a disk of 8 MiB. Returns what it printed on failures; empty when there were none.
std::string complaints(const std::string& name, const std::vector<std::string>& more = {}) {
  const TempFile disk(8 << 20);
  std::vector<std::string> arguments{"--disk", disk.path()};
  arguments.insert(arguments.end(), more.begin(), more.end());
  TestVm vm(payload("case=" + name + " status=2", arguments));
  const int status = vm.wait_exit();
  const bool good =
      status == debug_status(2) && vm.output().find("payload: done\n") != std::string::npos && disk.size() == 8 << 20;
  return good ? "" : "status " + std::to_string(status) + "\n" + vm.output() + vm.messages();
}

}  // namespace

TEST_CASE("hostile: every port is read and written in every width", "[payload][hostile]") {
  CHECK(complaints("scan-ports") == "");
}
TEST_CASE("hostile: the hole below 4 GiB is read and written", "[payload][hostile]") {
  CHECK(complaints("scan-memory") == "");
}
TEST_CASE("hostile: PCI configuration space is overwritten, BARs are put anywhere", "[payload][hostile]") {
  CHECK(complaints("abuse-pci") == "");
}
TEST_CASE("hostile: garbage in every register of the clock", "[payload][hostile]") {
  CHECK(complaints("abuse-clock") == "");
}
TEST_CASE("hostile: every value in every register of the serial lines", "[payload][hostile]") {
  CHECK(complaints("abuse-serial", {"--serial", "stdio", "--serial", "null"}) == "");
}
TEST_CASE("hostile: rings and chains that no driver makes, and recovery from each", "[payload][hostile]") {
  CHECK(complaints("abuse-ring") == "");
}
TEST_CASE("hostile: accesses to the virtio registers that no driver makes", "[payload][hostile]") {
  CHECK(complaints("abuse-transport") == "");
}
TEST_CASE("hostile: disk requests that no driver makes, and recovery from each", "[payload][hostile]") {
  const auto engine = GENERATE(as<std::string>(), "io_uring", "threads");
  CHECK(complaints("abuse-disk", {"--io-engine", engine}) == "");
}

TEST_CASE("hostile: interrupts to nowhere, and vectors masked all the time", "[payload][hostile]") {
  CHECK(complaints("abuse-interrupts") == "");
}
TEST_CASE("hostile: resets while reads are under way, and heads given twice", "[payload][hostile]") {
  const auto engine = GENERATE(as<std::string>(), "io_uring", "threads");
  CHECK(complaints("reset-while-busy", {"--io-engine", engine}) == "");
}

TEST_CASE("hostile: what a guest does wrong fills no log", "[payload][hostile]") {
  const TempFile disk(8 << 20);
  TestVm vm(payload("case=abuse-ring status=2", {"--disk", disk.path()}));
  CHECK(vm.wait_exit() == debug_status(2));
  CHECK_THAT(vm.output(), Contains("payload: done\n"));
  CHECK(vm.messages().size() < 8192);
}
