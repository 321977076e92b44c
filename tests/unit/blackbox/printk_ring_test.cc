// The kernel log: read as printk wrote it, and refused in words when it is not.
#include "vmm/blackbox/printk_ring.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "tests/support/linux_memory.h"

using namespace vmm;
using namespace vmm::test;
using Lines = std::vector<std::string>;

namespace {

Lines texts(const KernelLog& log) {
  Lines found;
  for (const LogLine& line : log.lines) found.push_back(line.text);
  return found;
}
KernelLog read(const LinuxMemory& linux) { return read_kernel_log(linux.kernel(), linux.vmcoreinfo()); }

}  // namespace

TEST_CASE("printk ring: lines come with time and level, as on a console", "[blackbox]") {
  LinuxMemory linux;
  linux.log(0, 5, "Linux version 6.1");
  linux.log(1'234'567'890, 0, "Kernel panic");
  linux.write();
  const KernelLog log = read(linux);
  CHECK(log.trouble.empty());
  REQUIRE(log.lines.size() == 2);
  CHECK(log.lines[0].format() == "[    0.000000] Linux version 6.1");
  CHECK(log.lines[0].level == 5);
  CHECK(log.lines[1].format() == "[    1.234567] Kernel panic");
  CHECK(log.lines[1].level == 0);
}

TEST_CASE("printk ring: a record of several lines is several, and none is lost", "[blackbox]") {
  LinuxMemory linux;
  linux.log(5, 6, "one\ntwo\n");
  linux.log(6, 6, "");
  linux.log(7, 6, "a\n\nb");
  linux.write();
  CHECK(texts(read(linux)) == Lines{"one", "two", "", "a", "", "b"});
}

TEST_CASE("printk ring: a layout in which members lie outside of their structures is not known", "[blackbox]") {
  const auto [name, value] = GENERATE(table<std::string, std::string>({{"SIZE(printk_info)", "16"},
                                                                       {"SIZE(printk_info)", "1000000"},
                                                                       {"OFFSET(printk_info.seq)", "84"},
                                                                       {"OFFSET(printk_info.ts_nsec)", "-1"}}));
  LinuxMemory linux;
  linux.log(0, 5, "Linux version 6.1");
  linux.write();
  linux.info[name] = value;
  const KernelLog log = read(linux);
  CHECK(log.lines.empty());
  CHECK_FALSE(log.trouble.empty());
}

TEST_CASE("printk ring: text that turned the ring round is whole", "[blackbox]") {
  LinuxMemory linux;
  Lines written;
  for (int i = 0; i < 40; ++i) {
    written.push_back(std::to_string(i) + std::string(40, 'x'));
    linux.log(0, 6, written.back());
  }
  // 48 bytes each in a ring of 1024; the last 18 are surely there.
  linux.tail_id = 0x1001 + 22;
  linux.write();
  CHECK(texts(read(linux)) == Lines(written.begin() + 22, written.end()));
}

TEST_CASE("printk ring: a log that has lost its beginning is not whole", "[blackbox]") {
  LinuxMemory linux;
  linux.log(0, 5, "first");
  linux.log(0, 5, "second");
  linux.write();
  CHECK(read(linux).whole);
  linux.tail_id = 0x1001 + 1;
  linux.write();
  CHECK(texts(read(linux)) == Lines{"second"});
  CHECK_FALSE(read(linux).whole);
}

TEST_CASE("printk ring: what a program wrote to /dev/kmsg is told from what the kernel said", "[blackbox]") {
  LinuxMemory linux;
  linux.log(0, 6, "the kernel's");
  linux.write();
  CHECK_FALSE(read(linux).by_programs);
  linux.log(0, 6, "a program's", 2, 1);
  linux.write();
  CHECK(read(linux).by_programs);
}

TEST_CASE("printk ring: records that are not complete, or gone, are left out", "[blackbox]") {
  LinuxMemory linux;
  linux.log(0, 6, "reserved", 0);
  linux.log(0, 6, "committed", 1);
  linux.log(0, 6, "finalized", 2);
  linux.log(0, 6, "reusable", 3);
  linux.log(0, 6, "another's", 2);
  linux.write();
  linux.put(LinuxMemory::kDescriptors + 5 * LinuxMemory::kDescriptorSize, uint64_t{2} << 62 | 0x2005);
  CHECK(texts(read(linux)) == Lines{"committed", "finalized"});
}

TEST_CASE("printk ring: a record without text has none", "[blackbox]") {
  LinuxMemory linux;
  linux.log(0, 6, "text");
  linux.write();
  linux.put(LinuxMemory::kDescriptors + 1 * LinuxMemory::kDescriptorSize + 8, uint64_t{3});
  linux.put(LinuxMemory::kDescriptors + 1 * LinuxMemory::kDescriptorSize + 16, uint64_t{3});
  CHECK(texts(read(linux)) == Lines{""});
}

TEST_CASE("printk ring: what is no plain text cannot reach a terminal", "[blackbox]") {
  LinuxMemory linux;
  linux.log(0, 6, std::string("\x1b[2J\x9b\tbell\a\0!", 13));
  linux.write();
  CHECK(texts(read(linux)) == Lines{"\\x1b[2J\\x9b\tbell\\x07\\x00!"});
}

TEST_CASE("printk ring: positions that lie are no text", "[blackbox]") {
  const auto [begin, next] = GENERATE(table<uint64_t, uint64_t>(
      {{0, 4}, {8, 0}, {0, 4096}, {UINT64_MAX - 7, 8}, {1000, 16}, {16, 16}, {0, UINT64_MAX}}));
  LinuxMemory linux;
  linux.log(0, 6, "lie");
  linux.log(0, 6, "truth");
  linux.write();
  linux.put(LinuxMemory::kDescriptors + 1 * LinuxMemory::kDescriptorSize + 8, begin);
  linux.put(LinuxMemory::kDescriptors + 1 * LinuxMemory::kDescriptorSize + 16, next);
  const Lines found = texts(read(linux));
  CHECK(found.size() <= 2);
  CHECK(found.back() == "truth");
}

TEST_CASE("printk ring: text that another record has overwritten is not shown", "[blackbox]") {
  LinuxMemory linux;
  linux.log(0, 6, "old");
  linux.log(0, 6, "new");
  linux.write();
  linux.put(LinuxMemory::kText, uint64_t{0x1021});
  CHECK(texts(read(linux)) == Lines{"new"});
}

TEST_CASE("printk ring: records that name the same text are not more than the ring", "[blackbox]") {
  LinuxMemory linux;
  for (int i = 0; i < 20; ++i) linux.log(0, 6, "short");
  linux.write();
  for (uint64_t slot = 1; slot <= 20; ++slot) {
    linux.put(LinuxMemory::kDescriptors + slot * LinuxMemory::kDescriptorSize + 8, slot * 8);
    linux.put(LinuxMemory::kDescriptors + slot * LinuxMemory::kDescriptorSize + 16, uint64_t{1016});
    linux.put(LinuxMemory::kText + slot * 8, uint64_t{0x1000} + slot);
    linux.put(LinuxMemory::kInfos + slot * LinuxMemory::kInfoSize + 16, uint16_t{600});
  }
  size_t shown = 0;
  for (const std::string& line : texts(read(linux))) shown += line.size();
  CHECK(shown < 4 * 600);  // four characters for a byte that is none
}

TEST_CASE("printk ring: sizes beyond what a kernel has are damage", "[blackbox]") {
  LinuxMemory linux;
  linux.log(0, 6, "text");
  linux.write();
  const uint64_t place = GENERATE(uint64_t{LinuxMemory::kLog}, uint64_t{LinuxMemory::kLog} + 48);
  linux.put(place, GENERATE(uint32_t{26}, uint32_t{64}, UINT32_MAX));
  CHECK(read(linux).trouble == "the log is damaged");
}

TEST_CASE("printk ring: head and tail at odds end", "[blackbox]") {
  LinuxMemory linux;
  linux.log(0, 6, "text");
  linux.write();
  linux.put(LinuxMemory::kLog + 24, uint64_t{0});
  CHECK(read(linux).lines.size() <= 1);
}

TEST_CASE("printk ring: older layouts, and none, are named", "[blackbox]") {
  LinuxMemory linux;
  linux.write();
  std::erase_if(linux.info, [](const auto& line) { return line.first == "SYMBOL(prb)"; });
  CHECK(read(linux).trouble == "VMCOREINFO does not say where the log is");
  linux.set_symbol("log_buf", LinuxMemory::kText);
  CHECK(read(linux).trouble == "the log has the layout of Linux before 5.10");
}

TEST_CASE("printk ring: a member that VMCOREINFO leaves out is missed", "[blackbox]") {
  LinuxMemory linux;
  linux.write();
  linux.info.erase("OFFSET(printk_info.text_len)");
  CHECK(read(linux).trouble == "VMCOREINFO does not say where the log is");
}
