// The arguments that start a guest image, for boot tests.
#pragma once

#include <catch2/catch.hpp>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/test_vm.h"

namespace vmm::test {

using Words = std::vector<std::string>;

inline Words operator+(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

inline Words small_kernel() { return {"--kernel", image("KERNEL", "bzImage"), "--append", "quiet"}; }
// The tiny guest in memory, which runs one command and powers off; with a shell when the command is empty.
inline Words tiny_initramfs(const std::string& command = {}) {
  const Words initrd{"--initrd", image("TINY", "initramfs.cpio.gz")};
  return command.empty() ? initrd : initrd + Words{"--append", "tiny.run=\"" + command + "\""};
}
inline std::string tiny_disk() { return image("TINY", "rootfs.img"); }
inline Words debian_kernel() {
  return {"--kernel", image("DEBIAN_KERNEL", "vmlinuz"),   "--append", "quiet",
          "--initrd", image("DEBIAN_KERNEL", "initrd.img")};
}

// Until the tiny guest hears its power button: a press before that is lost.
inline void wait_for_acpid(TestVm& vm) {
  vm.wait_for("tiny: ready");
  vm.run("until ls -l /proc/$(pidof acpid)/fd | grep event0; do sleep 0.2; done >/dev/null 2>&1");
}

// What a verb of vmm prints that succeeds, as to a machine that runs.
inline std::string say(const Words& words) {
  TestVm client(words);
  CHECK(client.wait_exit() == 0);
  return client.output();
}

// Pauses a machine at a moment when `vmm why` has `text` of it, and returns what it says; an idle guest has its moments
// of work, too.
inline std::string pause_at(const std::string& socket, const std::string& text) {
  std::string why;
  for (int tries = 0; tries < 40; ++tries) {
    say({"pause", socket});
    why = say({"why", socket});
    if (why.find(text) != std::string::npos) return why;
    say({"resume", socket});
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
  throw std::runtime_error("there was never '" + text + "', but: " + why);
}

}  // namespace vmm::test
