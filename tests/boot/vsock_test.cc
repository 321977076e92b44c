// vsock with a real kernel's driver, both ways.
#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <thread>

#include "tests/support/guests.h"
#include "tests/support/temp_file.h"
#include "tests/support/unix_ends.h"

using namespace vmm::test;

namespace {

// Steps until it is true, for as long as an emulated machine may take.
template <typename Step>
bool patiently(Step step) {
  const auto deadline = std::chrono::steady_clock::now() + TestVm::kPatience;
  while (!step()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace

TEST_CASE("vsock: a client of the host and one of the guest are served", "[boot][vsock]") {
  const TempDirectory place;
  std::filesystem::copy(VSOCK_GUEST, place("guest"));
  const HostListener listener(place("v_5000"));
  TestVm vm(small_kernel() + Words{"--disk", tiny_disk() + ",ephemeral", "--share", place.path(), "--vsock", place("v"),
                                   "--", "sh", "-c", "mkdir -p /mnt && mount -t virtiofs share /mnt && /mnt/guest"});
  vm.wait_for("listening");
  HostEnd client(place("v"));
  std::string text, echo;
  for (int i = 0; i < 100000; ++i) text += std::to_string(i) + "\n";
  client.send("CONNECT 1024\n");
  size_t sent = 0;
  CHECK(patiently([&] {
    sent += client.send(std::string_view(text).substr(sent));
    echo += client.receive();
    return echo.starts_with("OK ") && echo.size() >= text.size() + echo.find('\n') + 1;
  }));
  CHECK(echo.substr(echo.find('\n') + 1) == text);
  client.end_output();
  HostEnd caller;
  CHECK(patiently([&] { return (caller = listener.accept()).connected(); }));
  std::string told;
  CHECK(patiently([&] {
    told += caller.receive();
    return told.ends_with(" bytes");
  }));
  CHECK(told == std::to_string(text.size()) + " bytes");
  CHECK(vm.wait_exit() == 0);
  CHECK_FALSE(std::filesystem::exists(place("v")));
}
