// The words of `vmm test`.
#include "vmm/control/matrix/matrix_command.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <sstream>

#include "vmm/core/error.h"

using namespace vmm;
using Catch::Matchers::Contains;
using Words = std::vector<std::string>;

namespace {

MatrixCommand parse(const std::string& text) {
  std::istringstream words(text);
  std::vector<std::string> arguments;
  for (std::string word; words >> word;) arguments.push_back(word);
  return parse_test_command(arguments);
}

}  // namespace

TEST_CASE("vmm test: its file, its flags, those of the runs, and a command", "[matrix]") {
  const MatrixCommand command = parse(
      "ci.toml --jobs 3 --retries=1 --host-mem 2G --output out --junit j.xml --tap --mem 1G --disk a --disk b --no-rng "
      "-- make --jobs 9");
  CHECK(command.file == "ci.toml");
  CHECK(command.options.jobs == 3u);
  CHECK(command.options.retries == 1u);
  CHECK(command.options.host_memory == uint64_t{2} << 30);
  CHECK(command.output == "out");
  CHECK(command.junit == "j.xml");
  CHECK(command.tap);
  CHECK(command.settings == RunSettings{{"mem", {"1G"}}, {"disk", {"a", "b"}}, {"no-rng", {""}}});
  CHECK(command.words == Words{"make", "--jobs", "9"});
}

TEST_CASE("vmm test: what it says replaces the file's axes and options", "[matrix]") {
  const MatrixFile file = parse_test_file(
      "[[kernel]]\nname='old'\nkernel='o'\n[[command]]\nname='c'\nrun='c'\n[run]\njobs=2\nretries=5\n", "f");
  const MatrixFile merged =
      parse("--kernel a/bzImage --kernel b/bzImage --kernel b:bzImage --jobs 4 -- true").merged_into(file);
  REQUIRE(merged.kernels.size() == 3);
  CHECK(merged.kernels[0].name == "a-bzImage");
  CHECK(merged.kernels[1].name == "b-bzImage");
  CHECK(merged.kernels[2].name == "b-bzImage-2");
  CHECK(merged.kernels[1].settings.at("kernel") == Words{"b/bzImage"});
  REQUIRE(merged.commands.size() == 1);
  CHECK(merged.commands[0].words == Words{"true"});
  CHECK(merged.options.jobs == 4u);
  CHECK(merged.options.retries == 5u);
  CHECK(parse("--mem 1G").merged_into(file).kernels[0].name == "old");
}

TEST_CASE("vmm test: what it does not understand is refused", "[matrix]") {
  const auto [text, why] = GENERATE(table<std::string, std::string>({
      {"a b", "'b' is one file too many"},
      {"--jobs 0", "--jobs: '0' is no number of at least 1"},
      {"--jobs", "--jobs needs a value"},
      {"--mem -- true", "--mem needs a value"},
      {"--no-rng=1", "--no-rng takes no value"},
      {"--escape ^A", "--escape is not for vmm test"},
      {"--name a", "--name is not for vmm test"},
      {"--vmcore f", "--vmcore is not for vmm test"},
      {"--trace f", "--trace is not for vmm test"},
      {"--frobnicate", "unknown option '--frobnicate'"},
      {"-append x", "here it is --append"},
      {"--", "no command after '--'"},
      {"--output=", "--output needs a name"},
  }));
  CHECK_THROWS_WITH(parse(text), Contains(why));
}

TEST_CASE("vmm test: its help fits a screen", "[matrix]") {
  CHECK(parse("f --help").help);
  CHECK_FALSE(parse("-- x --help").help);
  const std::string_view help = test_help_text();
  CHECK(std::ranges::count(help, '\n') <= 45);
}

TEST_CASE("vmm test: the example in its help is a file that it reads", "[matrix]") {
  const std::string help(test_help_text());
  const size_t begin = help.find("  mem = "), end = help.find("Exit status");
  const MatrixFile file = parse_test_file(help.substr(begin, end - begin), "help");
  CHECK(file.kernels.size() == 1);
  CHECK(file.commands.size() == 1);
  CHECK(file.options.retries == 1u);
}
