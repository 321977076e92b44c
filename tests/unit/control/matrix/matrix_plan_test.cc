// From axes to runs, and whether they fit.
#include "vmm/control/matrix/matrix_plan.h"

#include <catch2/catch.hpp>

#include "vmm/core/error.h"

using namespace vmm;
using Catch::Matchers::Contains;
using Words = std::vector<std::string>;

namespace {

MatrixFile two_by_two() {
  return parse_test_file(R"(
kernel = "k"
append = ["a"]
mem = 64
no-rng = true
[[config]]
name = "one"
[[config]]
name = "two"
cpus = 2
mem = 128
append = ["b"]
no-rng = false
[[command]]
name = "x"
run = ["true"]
timeout = 5
[[command]]
name = "y"
run = "false"
)",
                         "vmm.toml");
}

}  // namespace

TEST_CASE("test plan: every configuration meets every command", "[matrix]") {
  const auto runs = plan_runs(two_by_two(), {});
  REQUIRE(runs.size() == 4);
  CHECK(runs[0].name == "one/x");
  CHECK(runs[0].words == Words{"run", "--append=a", "--kernel=k", "--mem=64", "--no-rng", "--timeout=5", "--", "true"});
  CHECK(runs[0].timeout == std::chrono::seconds(5));
  CHECK(runs[3].name == "two/y");
  CHECK(runs[3].words == Words{"run", "--append=a", "--append=b", "--cpus=2", "--kernel=k", "--mem=128",
                               "--timeout=3600", "--", "sh", "-c", "false"});
  CHECK(runs[3].cpus == 2);
  CHECK(runs[3].memory == 128u << 20);
}

TEST_CASE("test plan: the command line has the last word", "[matrix]") {
  const auto runs = plan_runs(two_by_two(), {{"mem", {"256"}}, {"serial", {"null"}}});
  CHECK(runs[3].memory == 256u << 20);
  CHECK(runs[3].has_serial);
  CHECK_FALSE(plan_runs(two_by_two(), {}).front().has_serial);
}

TEST_CASE("test plan: a run without a limit of its own has one", "[matrix]") {
  CHECK(plan_runs(two_by_two(), {}).back().timeout == std::chrono::hours(1));
  CHECK(plan_runs(two_by_two(), {{"timeout", {"7"}}}).back().timeout == std::chrono::seconds(7));
}

TEST_CASE("test plan: a wrong value is refused in the name of its test", "[matrix]") {
  CHECK_THROWS_WITH(plan_runs(two_by_two(), {{"mem", {"much"}}}), Contains("test 'one/x': --mem: 'much' is no size"));
}

TEST_CASE("test plan: a product without measure is refused", "[matrix]") {
  MatrixFile file;
  file.kernels.resize(200, {.name = "k"});
  file.commands.resize(200, {.name = "c", .words = {"true"}});
  CHECK_THROWS_WITH(plan_runs(file, {}), Contains("40000 tests, more than 10000"));
}

TEST_CASE("test plan: what can never fit is refused before anything starts", "[matrix]") {
  const auto runs = plan_runs(two_by_two(), {});
  CHECK_NOTHROW((TestBudget{.jobs = 1, .cpus = 2, .memory = 128u << 20}.check(runs)));
  CHECK_THROWS_WITH((TestBudget{.jobs = 1, .cpus = 1, .memory = 128u << 20}.check(runs)),
                    Contains("'two/x' can never start: it wants 2 CPUs of 1"));
  CHECK_THROWS_WITH((TestBudget{.jobs = 1, .cpus = 2, .memory = 100u << 20}.check(runs)),
                    Contains("it wants 128 MiB of memory, and there is 100 MiB"));
}

TEST_CASE("test plan: the budget is the host's unless somebody says otherwise", "[matrix]") {
  const TestBudget host = TestBudget::of({});
  CHECK(host.cpus >= 1);
  CHECK(host.jobs == host.cpus);
  CHECK(host.memory > 1u << 20);
  const TestBudget said = TestBudget::of({.jobs = 7, .host_cpus = 3, .host_memory = 5});
  CHECK(said.jobs == 7);
  CHECK(said.cpus == 3);
  CHECK(said.memory == 5);
}
