// vmm.toml: what it says, and what is refused with its line.
#include "vmm/control/matrix/matrix_file.h"

#include <catch2/catch.hpp>

#include "tests/support/temp_file.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;

namespace {

std::string refusal(const std::string& text) {
  try {
    parse_test_file(text, "vmm.toml");
  } catch (const Error& error) {
    return error.fix().empty() ? "no fix" : error.what();
  }
  return {};
}

using Words = std::vector<std::string>;

}  // namespace

TEST_CASE("test file: letters beyond ASCII are no white space, and outside of texts no TOML", "[matrix]") {
  CHECK_THROWS_AS(parse_test_file("\xc3\xa9 = 1\n", "f"), Error);
  CHECK_THROWS_AS(parse_test_file("mem \xe2\xb9\xae = 1\n", "f"), Error);
  CHECK_NOTHROW(parse_test_file("# \xc3\xa9\nappend = [\"\xc3\xa9\"]\n", "f"));
}

TEST_CASE("test file: retries without end are refused", "[matrix]") {
  CHECK_THROWS_WITH(parse_test_file("[run]\nretries = 2147483647\n", "f"),
                    Catch::Matchers::Contains("of at least 0, and at most 100"));
}

TEST_CASE("test file: flags, axes and options", "[matrix]") {
  const MatrixFile file = parse_test_file(R"(
mem = "512M"
timeout = 1.5
disk = ["a.img,ro", "b.img"]
append = "quiet"
no-rng = true
kernel = "bzImage"

[[config]]
name = "smp"
cpus = 2
no-rng = false

[[command]]
name = "shell"
run = "echo $HOME"
[[command]]
name = "words"
run = ["echo", "a b"]
expect-tap = true

[run]
jobs = 3
retries = 0
host-mem = "1G"
)",
                                          "vmm.toml");
  CHECK(file.settings.at("mem") == Words{"512M"});
  CHECK(file.settings.at("timeout") == Words{"1.5"});
  CHECK(file.settings.at("disk") == Words{"a.img,ro", "b.img"});
  CHECK(file.settings.at("append") == Words{"quiet"});
  CHECK(file.settings.at("no-rng") == Words{""});
  CHECK(file.settings.at("kernel") == Words{"bzImage"});
  CHECK(file.kernels.empty());
  REQUIRE(file.configs.size() == 1);
  CHECK(file.configs[0].settings.at("cpus") == Words{"2"});
  CHECK(file.configs[0].settings.at("no-rng").empty());
  REQUIRE(file.commands.size() == 2);
  CHECK(file.commands[0].words == Words{"sh", "-c", "echo $HOME"});
  CHECK(file.commands[1].words == Words{"echo", "a b"});
  CHECK(file.commands[1].settings.contains("expect-tap"));
  CHECK(file.options.jobs == 3u);
  CHECK(file.options.retries == 0u);
  CHECK(file.options.host_memory == uint64_t{1} << 30);
  CHECK_FALSE(file.options.host_cpus.has_value());
}

TEST_CASE("test file: what is not understood is refused with its line", "[matrix]") {
  const auto [text, why] = GENERATE(table<std::string, std::string>({
      {"\nmemory = 5", "vmm.toml:2: there is no 'memory' here"},
      {"result = 'r.json'", "vmm.toml:1: there is no 'result' here"},
      {"\n\nmem = [\"1G\"]", "vmm.toml:3: 'mem' is one string or number"},
      {"mem = 1979-05-27", "vmm.toml:1: 'mem' is one string"},
      {"disk = [1]", "vmm.toml:1: 'disk' is no list of strings"},
      {"no-rng = 1", "vmm.toml:1: 'no-rng' is on or off"},
      {"mem = ", "vmm.toml:1: "},
      {"mem = 1\nmem = 2", "vmm.toml:2: "},
      {"kernel = []", "vmm.toml:1: 'kernel' is empty"},
      {"kernel = ['a', 'b']", "vmm.toml:1: 'kernel' is no list of tables"},
      {"[config]\nname = 'x'", "vmm.toml:1: 'config' is no list of tables"},
      {"[[kernel]]\nkernel = 'x'", "vmm.toml:1: this kernel has no name"},
      {"[[kernel]]\nname = '../x'", "vmm.toml:2: this is no name"},
      {"[[kernel]]\nname = 5", "vmm.toml:2: this is no name"},
      {"[[config]]\nname = 'x'\n[[config]]\nname = 'x'", "vmm.toml:3: there are two [[config]] 'x'"},
      {"[[command]]\nname = 'x'", "vmm.toml:1: the command 'x' has nothing to run"},
      {"[[command]]\nname = 'x'\nrun = []", "vmm.toml:3: 'run' has no words"},
      {"[run]\njobs = 0", "vmm.toml:2: 'jobs' is no number of at least 1"},
      {"[run]\njobs = 1.5", "vmm.toml:2: 'jobs' is no number"},
      {"[run]\nretry = 1", "vmm.toml:2: [run] has no 'retry'"},
      {"run = 3", "vmm.toml:1: 'run' is no table"},
      {"[run]\nhost-mem = 'lots'", "host-mem: 'lots' is no size"},
  }));
  CHECK_THAT(refusal(text), StartsWith(why));
}

TEST_CASE("test file: deep nesting and rubbish are refused", "[matrix]") {
  CHECK_FALSE(refusal("mem = " + std::string(100'000, '[')).empty());
  CHECK_FALSE(refusal(std::string(1000, '\0')).empty());
  CHECK_FALSE(refusal("\xff\xfe = 1").empty());
}

TEST_CASE("test file: only a file of a sane size is read", "[matrix]") {
  const TempDirectory folder;
  CHECK(read_test_file(folder.file("good.toml", "mem = 64")).settings.size() == 1);
  CHECK_THROWS_WITH(read_test_file(folder("none.toml")), Contains("No such file"));
  CHECK_THROWS_WITH(read_test_file(folder.path()), Contains("Is a directory"));
  CHECK_THROWS_WITH(read_test_file("/dev/zero"), Contains("larger than"));
  CHECK_THROWS_WITH(read_test_file(folder.file("big.toml", std::string(2 << 20, '#'))), Contains("larger than"));
}

TEST_CASE("test file: what surprises the parser is refused, and so is what nests without end", "[matrix]") {
  CHECK_THAT(refusal("[\\"), StartsWith("vmm.toml: this is no TOML"));
  CHECK_THAT(refusal("[[["), StartsWith("vmm.toml: this is no TOML"));
  CHECK_THAT(refusal("a = " + std::string(100'000, '[')), Contains("nested"));
  std::string keys = "\na";
  for (int i = 0; i < 500'000; ++i) keys += ".a";
  CHECK_THAT(refusal(keys + " = 1"), StartsWith("vmm.toml:2: more than 1000 dots"));
  CHECK_THAT(refusal("[" + keys.substr(1) + "]"), StartsWith("vmm.toml:1: more than 1000 dots"));
}
