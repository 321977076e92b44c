// Vmcores of stock kernels: what others' programs, and vmm itself, read out of them.
#include <array>
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <regex>

#include "tests/support/descriptors.h"
#include "tests/support/guests.h"
#include "tests/support/kernel_log.h"
#include "tests/support/temp_file.h"

using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

// What a shell command prints.
std::string shell(const std::string& command) {
  std::string output;
  std::FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  std::array<char, 4096> bytes;
  while (const size_t length = std::fread(bytes.data(), 1, bytes.size(), pipe)) output.append(bytes.data(), length);
  INFO(output);
  CHECK(::pclose(pipe) == 0);
  return output;
}

// A CPU that was about to be woken is still at its HLT, which is all that a vmcore tells of it.
std::string without_halts(const std::string& text) { return std::regex_replace(text, std::regex("halted "), ""); }

}  // namespace

TEST_CASE("vmcore: readelf, makedumpfile and drgn read that of a stock kernel with KASLR", "[boot][vmcore]") {
  if (std::system("command -v makedumpfile >/dev/null && /usr/bin/python3 -c 'import drgn'") != 0) {
    WARN("skipped: makedumpfile or python3-drgn is not installed");
    return;
  }
  const TempDirectory folder;
  const std::string core = folder("core");
  TestVm vm(debian_kernel() + Words{"--append", "ignore_loglevel", "--append",
                                    "tiny.run=\"echo c >/proc/sysrq-trigger\"", "--cpus", "2", "--serial",
                                    "file=" + folder("serial"), "--vmcore", core});
  CHECK(vm.wait_exit() == 96);
  CHECK_THAT(vm.messages(), Contains("  core: " + core));

  const std::string notes = shell("readelf -nW " + core);
  CHECK_THAT(notes, Contains("NT_PRSTATUS") && Contains("VMCOREINFO"));

  // It finds the kernel by VMCOREINFO, and its log through the page tables.
  const std::string log = folder("makedumpfile");
  shell("makedumpfile --dump-dmesg " + core + " " + log);
  CHECK_THAT(contents(log),
             Contains("Linux version 6.1") && Contains("Kernel panic - not syncing: sysrq triggered crash"));
  CHECK(say({"dmesg", core}) == contents(log));
  CHECK(kernel_lines(contents(folder("serial"))) == kernel_lines(contents(log)));

  // The kernel's name, by its virtual address.
  const std::string script =
      folder.file("name.py",
                  "import re, sys, drgn\n"
                  "program = drgn.Program()\n"
                  "program.set_core_dump(sys.argv[1])\n"
                  "head = open(sys.argv[1], 'rb').read(65536)\n"
                  "names = int(re.search(rb'SYMBOL.init_uts_ns.=([0-9a-f]+)', head)[1], 16)\n"
                  "print(program.flags, program.read(names, 400))\n"
                  "note = rb'\\x05\\0\\0\\0\\x50\\x01\\0\\0\\x01\\0\\0\\0CORE\\0\\0\\0\\0.{32}(.{4})'\n"
                  "pids = re.findall(note, head, re.S)\n"
                  "print('pids', *(int.from_bytes(pid, 'little') for pid in pids), '.')\n");
  const std::string found = shell("/usr/bin/python3 " + script + " " + core);
  CHECK_THAT(found, Contains("IS_LINUX_KERNEL") && Contains("-cloud-amd64"));
  // By which drgn and crash know the task that ran, and its registers: "CPU: 0 PID: 71 Comm: sh".
  std::smatch panicked;
  const std::string log_text = contents(log);
  REQUIRE(std::regex_search(log_text, panicked, std::regex("PID: ([0-9]+) Comm: sh")));
  CHECK_THAT(found.substr(found.find("pids")), Contains(" " + panicked[1].str() + " "));
}

TEST_CASE("vmcore: vmm tells from it what it told of the machine", "[boot][vmcore]") {
  const TempDirectory folder;
  TestVm vm(small_kernel() + tiny_initramfs() + Words{"--cpus", "2", "--ctl", folder("s")}, {.terminal = true});
  vm.wait_for("tiny: ready");
  vm.wait_for("# ");
  const std::string why = pause_at(folder("s"), "vCPU 1: halted in ");
  CHECK_THAT(why, Contains("Linux 6.1"));
  say({"dump", folder("s"), folder("core")});
  CHECK(without_halts(say({"why", folder("core")})) == without_halts(why));
  const std::string log = say({"dmesg", folder("s")});
  CHECK(say({"dmesg", folder("core")}) == log);
  say({"dump", folder("s"), folder("core.zst")});
  CHECK(say({"dmesg", folder("core.zst")}) == log);
  CHECK(say({"resume", folder("s")}).empty());
  CHECK(vm.run("echo on") == "on");
  CHECK(say({"kill", folder("s")}).empty());
  CHECK(vm.wait_exit() == 130);
}
