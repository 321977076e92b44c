// Standard streams that are full, closed or missing, and images in use: payload kernels.
#include <fcntl.h>

#include <catch2/catch.hpp>
#include <fstream>

#include "tests/support/payload.h"
#include "tests/support/temp_file.h"
#include "tests/support/test_vm.h"

using namespace vmm::test;
using Catch::Matchers::Contains;

TEST_CASE("streams: a guest ends although nobody reads its output", "[payload][streams]") {
  TestVm vm(payload("case=flood kilobytes=96 hasty=1 status=4"));
  CHECK(vm.wait_exit_unread() == debug_status(4));
}

TEST_CASE("streams: SIGTERM ends a guest that waits for its line while nobody reads", "[payload][streams]") {
  TestVm vm(payload("case=flood kilobytes=512"));
  vm.wait_for("xxx");
  vm.signal(SIGTERM);
  CHECK(vm.wait_exit_unread() == 143);
}

TEST_CASE("streams: all that a patient guest prints arrives in order", "[payload][streams]") {
  TestVm vm(payload("case=flood kilobytes=32 status=1"));
  REQUIRE(vm.wait_exit() == debug_status(1));
  CHECK(vm.output() == [] {
    std::string text;
    for (int line = 0; line < 512; ++line) text += std::string(63, 'x') + '\n';
    return text + "payload: done\n";
  }());
}

TEST_CASE("streams: the log has what ended the program before there was a guest", "[payload][streams]") {
  const TempFile log(uint64_t{0});
  TestVm vm({"--log", log.path(), "--kernel", "/nowhere"});
  CHECK(vm.wait_exit() == 125);
  std::ifstream file(log.path());
  CHECK_THAT(std::string(std::istreambuf_iterator<char>(file), {}), Contains("cannot open kernel '/nowhere'"));
}

TEST_CASE("streams: a file that cannot be opened is named, with a fix", "[payload][streams]") {
  const auto option = GENERATE(as<std::string>(), "--log", "--initrd");
  TestVm vm(payload("case=hello", {option, "/nowhere/file"}));
  CHECK(vm.wait_exit() == 125);
  CHECK_THAT(vm.messages(), Contains("'/nowhere/file': No such file or directory\n  fix: "));
}

TEST_CASE("streams: what cannot be printed is an error", "[payload][streams]") {
  using Words = std::vector<std::string>;
  const std::string kernel = payload("")[1];
  const auto verb = GENERATE_COPY(Words{"--help"}, Words{"--version"}, Words{"doctor"},
                                  Words{"--dry-run", "--kernel", kernel}, Words{"inspect", kernel});
  TestVm vm(verb, {.full_output = true});
  CHECK(vm.wait_exit() == 125);
  CHECK_THAT(vm.messages(),
             Contains("cannot write to standard output: No space left on device") && Contains("  fix: "));
}

TEST_CASE("streams: started with descriptors 0 to 2 closed it runs, and no message reaches the disk",
          "[payload][streams]") {
  const TempFile disk(1 << 20);
  const TempFile serial(uint64_t{0});
  TestVm vm(payload("case=hello status=9", {"--disk", disk.path(), "--serial", "file=" + serial.path()}),
            {.no_streams = true});
  CHECK(vm.wait_exit() == debug_status(9));
  CHECK(disk.content() == std::string(1 << 20, '\0'));
  CHECK(serial.content() == "payload: hello\npayload: done\n");
}

TEST_CASE("streams: a large paste that the guest does not read does no harm", "[payload][streams]") {
  TestVm vm(payload("case=spin"));
  vm.wait_for("payload: spinning\n");
  vm.send(std::string(32768, 'y'));
  vm.signal(SIGTERM);
  CHECK(vm.wait_exit() == 143);
}

TEST_CASE("images: a second machine on one disk is refused and told who has it", "[payload][lock]") {
  const TempFile disk(1 << 20);
  TestVm first(payload("case=spin", {"--disk", disk.path(), "--name", "first"}));
  first.wait_for("payload: spinning\n");
  TestVm second(payload("case=hello", {"--disk", disk.path()}));
  CHECK(second.wait_exit() == 125);
  CHECK_THAT(second.messages(), Contains("in use by pid " + std::to_string(first.pid())));
  CHECK_THAT(second.messages(), Contains("--name first"));
  CHECK_THAT(second.messages(), Contains("  fix: "));
  TestVm copy(payload("case=hello", {"--disk", disk.path() + ",ro"}));
  CHECK(copy.wait_exit() == 125);
}

TEST_CASE("images: two machines read one disk", "[payload][lock]") {
  const TempFile disk(1 << 20);
  TestVm first(payload("case=spin", {"--disk", disk.path() + ",ro"}));
  first.wait_for("payload: spinning\n");
  TestVm second(payload("case=hello", {"--disk", disk.path() + ",ephemeral"}));
  CHECK(second.wait_exit() == 1);
}

TEST_CASE("images: a killed machine leaves no lock", "[payload][lock]") {
  const TempFile disk(1 << 20);
  TestVm first(payload("case=spin", {"--disk", disk.path()}));
  first.wait_for("payload: spinning\n");
  first.signal(SIGKILL);
  CHECK(first.wait_exit() == 128 + SIGKILL);
  TestVm second(payload("case=hello", {"--disk", disk.path()}));
  CHECK(second.wait_exit() == 1);
}

TEST_CASE("images: an ephemeral disk takes writes and leaves its image as it was", "[payload][lock]") {
  const TempFile disk(8 << 20);
  TestVm vm(payload("case=abuse-disk status=2", {"--disk", disk.path() + ",ephemeral"}));
  CHECK(vm.wait_exit() == debug_status(2));
  CHECK(disk.content() == std::string(8 << 20, '\0'));
}
