// gdb's packets and a machine's answers.
#include "vmm/control/gdb/gdb_stub.h"

#include <catch2/catch.hpp>

#include "tests/support/fake_gdb_target.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;

namespace {

struct Fixture {
  explicit Fixture(unsigned cpus = 2) : target(cpus) {
    CHECK(ask("qSupported:swbreak+;hwbreak+;xmlRegisters=i386").find("PacketSize=4000") == 0);
    target.take_calls();
  }

  // What comes back for a packet; empty for nothing, as for what is not understood.
  std::string ask(std::string_view packet) {
    sent.clear();
    stub.packet(packet);
    return sent;
  }
  // The machine has run into something.
  std::string meet(std::vector<GdbTarget::Event> events) {
    sent.clear();
    target.events = std::move(events);
    stub.on_event();
    return sent;
  }

  FakeGdbTarget target;
  std::string sent;
  GdbStub stub{target, [this](std::string_view payload) { sent += payload; }};
};

GdbTarget::Event int3(unsigned cpu, uint64_t pc) { return {cpu, {.breakpoint = true, .pc = pc}}; }
GdbTarget::Event stepped(unsigned cpu, uint64_t pc) { return {cpu, {.pc = pc, .stepped = true}}; }
GdbTarget::Event met(unsigned cpu, uint64_t pc, unsigned points) { return {cpu, {.pc = pc, .points = points}}; }

}  // namespace

TEST_CASE("gdb stub: the first packet stops the machine, and detaching lets it run", "[gdb]") {
  FakeGdbTarget target;
  std::string sent;
  GdbStub stub(target, [&](std::string_view payload) { sent += payload; });
  CHECK(!stub.attached());
  stub.packet("?");
  CHECK(sent == "T05thread:1;");
  CHECK(stub.attached());
  CHECK(!stub.running());
  CHECK(target.take_calls() == "stop ");
  stub.packet("D");
  CHECK(sent == "T05thread:1;OK");
  CHECK(!stub.attached());
  CHECK(target.take_calls() == "leave ");
  stub.packet("?");
  CHECK(target.take_calls() == "stop ");
}

TEST_CASE("gdb stub: vCPUs are threads with names", "[gdb]") {
  Fixture f;
  CHECK(f.ask("qfThreadInfo") == "m1,2");
  CHECK(f.ask("qsThreadInfo") == "l");
  CHECK(f.ask("qC") == "QC1");
  CHECK(f.ask("qCRC:0,4").empty());
  CHECK(f.ask("qThreadExtraInfo,2") == to_hex(std::string_view("vCPU 1, halted")));
  CHECK_THAT(f.ask("qXfer:threads:read::0,1000"),
             StartsWith("l") && Contains("<thread id=\"2\" core=\"1\" name=\"vcpu1\">halted</thread>"));
  CHECK(f.ask("T2") == "OK");
  CHECK(f.ask("T3") == "E16");
  CHECK(f.ask("Hg2") == "OK");
  CHECK(f.ask("qC") == "QC2");
  CHECK(f.ask("Hc-1") == "OK");
  CHECK(f.ask("Hg3") == "E16");
  CHECK(f.ask("Hx1") == "E16");
  CHECK(f.ask("qAttached") == "1");
}

TEST_CASE("gdb stub: a document comes in parts", "[gdb]") {
  Fixture f;
  const std::string whole = f.ask("qXfer:features:read:target.xml:0,ffff").substr(1);
  std::string parts;
  std::string part;
  do {
    part = f.ask(fmt::format("qXfer:features:read:target.xml:{:x},100", parts.size()));
    parts += part.substr(1);
  } while (part[0] == 'm');
  CHECK_THAT(parts, StartsWith(whole) && Contains("</target>"));
  CHECK(f.ask("qXfer:features:read:target.xml:ffffff,100") == "l");
  CHECK(f.ask("qXfer:features:read:other.xml:0,100") == "E00");
  CHECK(f.ask("qXfer:features:read:target.xml") == "E16");
  CHECK(f.ask("qXfer:features:read:target.xml:-1,5") == "E16");
  CHECK(f.ask("qXfer:memory-map:read::0,100").empty());
}

TEST_CASE("gdb stub: registers are read and written, of the thread that was chosen", "[gdb]") {
  Fixture f;
  CHECK(f.ask("P10=00000081ffffffff") == "OK");
  CHECK(f.target.files[0].general.rip == 0xffffffff81000000);
  CHECK(f.ask("p10") == "00000081ffffffff");
  CHECK(f.ask("Hg2") == "OK");
  CHECK(f.ask("p10") == "0000000000000000");
  const std::string all = f.ask("g");
  CHECK(f.ask("G01" + all.substr(2)) == "OK");
  CHECK(f.target.files[1].general.rax == 1);
  CHECK(f.ask("G00") == "E16");
  CHECK(f.ask("P0=00") == "E16");
  CHECK(f.ask("P0") == "E16");
  CHECK(f.ask("pffffffff") == "E16");
  f.target.refuses = true;
  CHECK(f.ask("P0=0000000000000000") == "E01");
}

TEST_CASE("gdb stub: memory is read as far as it is there", "[gdb]") {
  Fixture f;
  f.target.put(0x1000, "abcd");
  CHECK(f.ask("m1000,4") == "61626364");
  CHECK(f.ask("mffffe,4") == "0000");
  CHECK(f.ask("m100000,4") == "E0e");
  CHECK(f.ask("m0,ffffffff").size() == GdbPacketReader::kMaxPayload);
  CHECK(f.ask("m1000,0").empty());
  CHECK(f.ask("mffffffffffffffff,2") == "E0e");
  CHECK(f.ask("m1000") == "E16");
  CHECK(f.ask("m,4") == "E16");
}

TEST_CASE("gdb stub: memory is written in both forms, or not at all", "[gdb]") {
  Fixture f;
  CHECK(f.ask("M2000,2:6869") == "OK");
  CHECK(f.ask("X2002,3:#$}") == "OK");
  CHECK(f.target.bytes(0x2000, 5) == "hi#$}");
  CHECK(f.ask("X2000,0:") == "OK");
  CHECK(f.ask("M2000,3:6869") == "E16");
  CHECK(f.ask("M2000,1:zz") == "E16");
  CHECK(f.ask("X2000,4") == "E16");
  CHECK(f.ask("Xffffe,4:abcd") == "E0e");
  CHECK(f.target.bytes(0xffffe, 2) == std::string(2, '\0'));
}

TEST_CASE("gdb stub: a software breakpoint stops, and nobody sees it", "[gdb]") {
  Fixture f;
  f.target.put(0x1000, "\x55");
  CHECK(f.ask("Z0,1000,1") == "OK");
  CHECK(f.target.bytes(0x1000, 1) == "\xcc");
  CHECK(f.ask("m1000,1") == "55");
  CHECK(f.ask("vCont;c").empty());
  CHECK(f.target.take_calls() == "go:go,go, ");
  CHECK(f.target.debug.catch_breakpoints);
  CHECK(f.meet({int3(1, 0x1000)}) == "T05thread:2;swbreak:;");
  CHECK(f.ask("qC") == "QC2");
  CHECK(f.ask("z0,1000,1") == "OK");
  CHECK(f.target.bytes(0x1000, 1) == "\x55");
}

TEST_CASE("gdb stub: the guest's own INT3 and debug exceptions go to the guest", "[gdb]") {
  Fixture f;
  f.ask("Z0,1000,1");
  f.ask("vCont;c");
  f.target.take_calls();
  CHECK(f.meet({int3(0, 0x3000)}).empty());
  CHECK(f.target.take_calls() == "give0 go:go,go, ");
  CHECK(f.meet({stepped(1, 0x3000)}).empty());
  CHECK(f.target.take_calls() == "give1 go:go,go, ");
  CHECK(f.stub.running());
}

TEST_CASE("gdb stub: a breakpoint where no memory is takes a debug register, up to four", "[gdb]") {
  Fixture f;
  f.target.in_place = false;
  for (int i = 0; i < 4; ++i) CHECK(f.ask(fmt::format("Z0,ffffffff8100000{},1", i)) == "OK");
  CHECK_THAT(f.ask("Z1,1000,1"), StartsWith("E.") && Contains("four debug registers"));
  f.ask("c");
  CHECK(f.target.debug.points[3]->address == 0xffffffff81000003);
  CHECK(f.meet({met(0, 0xffffffff81000002, 1 << 2)}) == "T05thread:1;swbreak:;");
}

TEST_CASE("gdb stub: a kernel that lies in place is patched before it has page tables", "[gdb]") {
  Fixture f;
  f.target.put(0x1000, "\x55");
  CHECK(f.ask("mffffffff80001000,1") == "55");
  CHECK(f.ask("Z0,ffffffff80001000,1") == "OK");
  CHECK(f.target.bytes(0x1000, 1) == "\xcc");
}

TEST_CASE("gdb stub: hardware breakpoints and watchpoints say which it was", "[gdb]") {
  Fixture f;
  CHECK(f.ask("Z1,1000,1") == "OK");
  CHECK(f.ask("Z2,2000,8") == "OK");
  CHECK(f.ask("Z4,3000,4") == "OK");
  CHECK(f.ask("Z3,3000,4").empty());
  CHECK(f.ask("Z5,3000,4").empty());
  CHECK(f.ask("Z1,1000").empty());
  f.ask("vCont;c");
  CHECK(f.meet({met(0, 0x1000, 1)}) == "T05thread:1;hwbreak:;");
  f.ask("vCont;c");
  CHECK(f.meet({met(1, 0x1234, 2)}) == "T05thread:2;watch:2000;");
  f.ask("vCont;c");
  CHECK(f.meet({met(1, 0x1234, 4)}) == "T05thread:2;awatch:3000;");
}

TEST_CASE("gdb stub: what two vCPUs met at once is told one after the other", "[gdb]") {
  Fixture f;
  f.ask("Z0,1000,1");
  f.ask("Z2,2000,8");
  f.ask("vCont;c");
  CHECK(f.meet({int3(0, 0x1000), met(1, 0x1234, 1)}) == "T05thread:1;swbreak:;");
  f.target.take_calls();
  CHECK(f.ask("vCont;c") == "T05thread:2;watch:2000;");
  CHECK(f.target.take_calls().empty());
  // An INT3 that waits is met again anyway, and a watchpoint that is gone is none.
  f.ask("vCont;c");
  CHECK(f.meet({int3(0, 0x1000), int3(1, 0x1000), met(1, 0x1234, 1)}) == "T05thread:1;swbreak:;");
  f.ask("z2,2000,8");
  f.target.take_calls();
  CHECK(f.ask("vCont;c").empty());
  CHECK(f.target.take_calls() == "go:go,go, ");
}

TEST_CASE("gdb stub: each thread takes the first action that is for it", "[gdb]") {
  Fixture f(3);
  CHECK(f.ask("vCont?") == "vCont;c;C;s;S;r");
  f.ask("vCont;s:1;c");
  CHECK(f.target.take_calls() == "go:step,go,go, ");
  CHECK(f.meet({stepped(0, 0x1001)}) == "T05thread:1;");
  f.ask("vCont;s:2");
  CHECK(f.target.take_calls() == "go:stay,step,stay, ");
  f.meet({stepped(1, 0x1001)});
  f.ask("vCont;r1000,1010:1;C05:-1");
  CHECK(f.target.take_calls() == "go:step1000-1010,go,go, ");
  f.meet({stepped(0, 0x1010)});
  f.ask("s");
  CHECK(f.target.take_calls() == "go:step,stay,stay, ");
}

TEST_CASE("gdb stub: actions that make no sense are refused, and nothing runs", "[gdb]") {
  Fixture f;
  for (const char* packet : {"vCont", "vCont;", "vCont;x", "vCont;c:9", "vCont;r1,:1", "vCont;c:1x", "vCont;cc"}) {
    INFO(packet);
    f.ask(packet);
    CHECK(f.target.take_calls().find("go:go") == std::string::npos);
  }
}

TEST_CASE("gdb stub: Ctrl-C stops a running machine once, and a stopped one not", "[gdb]") {
  Fixture f;
  f.stub.interrupt();
  CHECK(f.target.take_calls().empty());
  f.ask("vCont;c");
  f.target.take_calls();
  f.sent.clear();
  for (int i = 0; i < 100; ++i) f.stub.interrupt();
  CHECK(f.sent == "T02thread:1;");
  CHECK(f.target.take_calls() == "stop ");
}

TEST_CASE("gdb stub: while the machine runs it can only be left or killed", "[gdb]") {
  Fixture f;
  f.ask("Z0,1000,1");
  f.ask("vCont;c");
  f.target.take_calls();
  CHECK(f.ask("g") == "E01");
  CHECK(f.ask("vCont;c") == "E01");
  CHECK(f.ask("vKill;1") == "OK");
  CHECK(f.target.take_calls() == "kill ");
  CHECK(f.ask("D;1") == "OK");
  CHECK(f.target.take_calls() == "stop leave ");
  CHECK(f.target.bytes(0x1000, 1) == std::string(1, '\0'));
}

TEST_CASE("gdb stub: an event that comes when gdb has gone lets the machine run", "[gdb]") {
  Fixture f;
  f.stub.detach();
  f.target.take_calls();
  f.stub.detach();
  CHECK(f.target.take_calls().empty());
  CHECK(f.meet({int3(0, 0x1000)}).empty());
  CHECK(f.target.take_calls() == "leave ");
}

TEST_CASE("gdb stub: after a reset a running machine stands at its beginning", "[gdb]") {
  Fixture f;
  f.ask("Z0,1000,1");
  f.ask("vCont;c");
  f.sent.clear();
  f.stub.on_new_machine();
  CHECK(f.sent == "T05thread:1;");
  CHECK(!f.stub.running());
  f.ask("vCont;c");
  CHECK(!f.target.debug.catch_breakpoints);
}

TEST_CASE("gdb stub: what monitor prints comes as output", "[gdb]") {
  Fixture f;
  CHECK(f.ask("qRcmd," + to_hex(std::string_view("info mem"))) ==
        "O" + to_hex(std::string_view("did info mem")) + "OK");
  CHECK(f.ask("qRcmd,xyz") == "E16");
  CHECK(f.ask("qRcmd") == "E16");
}

TEST_CASE("gdb stub: KASLR's offset is told where it is known", "[gdb]") {
  Fixture f;
  CHECK(f.ask("qOffsets").empty());
  f.target.offset = 0x1c00000;
  CHECK(f.ask("qOffsets") == "TextSeg=ffffffff82c00000");
}

TEST_CASE("gdb stub: what it does not know is answered with nothing", "[gdb]") {
  Fixture f;
  for (const char* packet : {"", "vMustReplyEmpty", "qTStatus", "!", "\xff", "QNonStop:1"})
    CHECK(f.ask(packet).empty());
  CHECK(f.ask("QStartNoAckMode") == "OK");
  CHECK(!f.stub.acknowledges());
}

TEST_CASE("gdb stub: when the kernel has unpacked itself, breakpoints go into it", "[gdb]") {
  Fixture f;
  f.target.in_place = false;
  f.target.put(0x1000, "\x55");
  f.ask("Z0,ffffffff80001000,1");
  f.ask("vCont;c");
  CHECK(f.target.bytes(0x1000, 1) == "\x55");
  f.target.in_place = true;  // as if it were mapped
  f.target.take_calls();
  CHECK(f.meet({{0, {.kernel_entered = true}}}).empty());
  CHECK(f.target.bytes(0x1000, 1) == "\xcc");
  CHECK(f.target.take_calls() == "go:go,go, ");
}

TEST_CASE("gdb stub: when KASLR has moved the kernel otherwise than gdb thinks, gdb is told", "[gdb]") {
  Fixture f;
  f.ask("qOffsets");
  f.ask("vCont;c");
  f.target.offset = 0x1c00000;
  const std::string said = f.meet({{0, {.kernel_entered = true}}});
  CHECK_THAT(said, StartsWith("O" + to_hex(std::string_view("KASLR has moved the kernel by 0x1c00000"))) &&
                       Catch::Matchers::EndsWith("T05thread:1;"));
  f.ask("qOffsets");
  f.ask("vCont;c");
  CHECK(f.meet({{0, {.kernel_entered = true}}}).empty());
}
