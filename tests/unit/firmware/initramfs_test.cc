// The archive as cpio itself reads it.
#include "firmware/initramfs.h"

#include <catch2/catch.hpp>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>

#include "tests/support/temp_file.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

std::string output_of(const std::string& command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
  std::string text;
  for (int c = 0; (c = std::fgetc(pipe.get())) != EOF;) text += static_cast<char>(c);
  return text;
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

TEST_CASE("initramfs: cpio lists and reads what was put in", "[initramfs]") {
  Initramfs archive;
  archive.add_directory("modules");
  archive.add_file("modules/odd", std::as_bytes(std::span(std::string_view("odd"))), 0640);
  archive.add_device("console", 5, 1);
  archive.add_file("empty", {});
  const TempDirectory folder;
  const std::string file = folder.path() + "/archive";
  std::ofstream(file) << text_of(archive.finish());
  const std::string listing = output_of("cpio --quiet -itvn <" + file);
  CHECK_THAT(listing, Contains("drwxr-xr-x") && Contains(" modules\n") && Contains("-rw-r-----") &&
                          Contains("modules/odd") && Contains("crw-------") && Contains("5,   1") && Contains("empty"));
  CHECK(output_of("cpio --quiet -i --to-stdout modules/odd <" + file) == "odd");
}

TEST_CASE("initramfs: the same content is the same bytes, a multiple of four", "[initramfs]") {
  const auto build = [] {
    Initramfs archive;
    archive.add_file("init", guest_init(), 0755);
    return archive.finish();
  };
  const auto once = build();
  CHECK(once == build());
  CHECK(once.size() % 4 == 0);
}

TEST_CASE("initramfs: the guest's init is a program", "[initramfs]") {
  CHECK(text_of(guest_init().first(4)) ==
        "\x7f"
        "ELF");
}
