// The main() of tests that start guests. Without a usable /dev/kvm they are skipped (77, as meson understands it);
// their names are told all the same.
#define CATCH_CONFIG_RUNNER
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdio>
#include <string_view>

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;
  Catch::Session session;
  if (const int error = session.applyCommandLine(argc, argv); error != 0) return error;
  const bool starts_guests = std::none_of(argv + 1, argv + argc, [](std::string_view word) {
    return word.starts_with("--list-") || word == "--help" || word == "-h" || word == "-?";
  });
  if (starts_guests && ::access("/dev/kvm", R_OK | W_OK) != 0) {
    std::puts("skipped: no /dev/kvm that can be opened here; tools/lab -- runs them where there is one");
    return kSkipped;
  }
  return session.run();
}
