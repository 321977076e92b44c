// Reading VMCOREINFO, and finding it.
#include "vmm/blackbox/vmcoreinfo.h"

#include <array>
#include <catch2/catch.hpp>
#include <string>

using namespace vmm;
using namespace std::string_view_literals;

namespace {

GuestMemory make_memory(uint64_t size = 0x100000) {
  return GuestMemory(std::array{GuestMemory::Range{{0x10000}, size}});
}

void put(const GuestMemory& memory, uint64_t address, std::string_view text) {
  REQUIRE(memory.write(GuestAddress{address}, std::as_bytes(std::span(text))));
}

std::string note(const std::string& text) {
  return std::string("\x0b\0\0\0\0\x01\0\0\0\0\0\0VMCOREINFO\0\0", 24) + text;
}

std::vector<std::string> releases(const GuestMemory& memory) {
  std::vector<std::string> found;
  find_vmcoreinfo(memory, [&](const VmcoreInfo& info) {
    found.push_back(info.release());
    return false;
  });
  return found;
}

}  // namespace

TEST_CASE("vmcoreinfo: every kind of line is read", "[blackbox]") {
  const auto info = VmcoreInfo::parse(
      "OSRELEASE=6.1.0\nBUILD-ID=0a1b\nSYMBOL(_stext)=ffffffff81000000\nSIZE(prb_desc)=24\n"
      "OFFSET(prb_desc.state_var)=8\nNUMBER(phys_base)=-1048576\nKERNELOFFSET=16c00000\nPAGESIZE=4096\n"
      "NUMBER(kimage_voffset)=0xffff800008000000\nnonsense\n\0SIZE(late)=1\n"sv);
  REQUIRE(info);
  CHECK(info->release() == "6.1.0");
  CHECK(info->build_id() == "0a1b");
  CHECK(info->symbol("_stext") == 0xffffffff81000000);
  CHECK(info->size("prb_desc") == 24);
  CHECK(info->offset("prb_desc.state_var") == 8);
  CHECK(info->number("phys_base") == -1048576);
  CHECK(info->kernel_offset() == 0x16c00000);
  CHECK(info->page_size() == 4096);
  CHECK(info->number("kimage_voffset") == -0x7ffff8000000);
  CHECK(info->symbols() == std::vector<uint64_t>{0xffffffff81000000});
  CHECK_FALSE(info->symbol("prb"));
  CHECK_FALSE(info->size("late"));
}

TEST_CASE("vmcoreinfo: numbers that are none are not there", "[blackbox]") {
  const auto info = VmcoreInfo::parse(
      "OSRELEASE=\nSYMBOL(a)=xyz\nSYMBOL(b)=\nSIZE(c)=99999999999999999999\nSIZE(d)=1 \n"
      "NUMBER(e)=0x\nNUMBER(f)=0x10000000000000000\n");
  REQUIRE(info);
  CHECK_FALSE(info->symbol("a"));
  CHECK_FALSE(info->symbol("b"));
  CHECK_FALSE(info->size("c"));
  CHECK_FALSE(info->size("d"));
  CHECK_FALSE(info->number("e"));
  CHECK_FALSE(info->number("f"));
  CHECK_FALSE(info->page_size());
  CHECK_FALSE(info->kernel_offset());
  CHECK_FALSE(VmcoreInfo::parse("SIZE(d)=1\nOSRELEASE=6\n"));
  CHECK_FALSE(VmcoreInfo::parse(""));
}

TEST_CASE("vmcoreinfo: it is found at the start of a page, bare or as a note", "[blackbox]") {
  const GuestMemory memory = make_memory();
  put(memory, 0x12000, "OSRELEASE=bare\n");
  put(memory, 0x13100, "OSRELEASE=inside\n");
  put(memory, 0x14000, note("OSRELEASE=note\n"));
  put(memory, 0x15000, note("SOMETHING=else\n"));
  put(memory, 0x10f000, "OSRELEASE=last page\n");
  CHECK(releases(memory) == std::vector<std::string>{"bare", "note", "last page"});
}

TEST_CASE("vmcoreinfo: the search ends with the first that is accepted", "[blackbox]") {
  const GuestMemory memory = make_memory();
  put(memory, 0x12000, "OSRELEASE=1\n");
  put(memory, 0x13000, "OSRELEASE=2\n");
  int asked = 0;
  CHECK(find_vmcoreinfo(memory, [&](const VmcoreInfo&) { return ++asked == 1; }));
  CHECK(asked == 1);
}

TEST_CASE("vmcoreinfo: memory full of forgeries is given up", "[blackbox]") {
  const GuestMemory memory = make_memory(0x1000 * 3000);
  for (uint64_t page = 0; page < 3000; ++page) put(memory, 0x10000 + page * 0x1000, "OSRELEASE=x\n");
  CHECK(releases(memory).size() < 2000);
}
