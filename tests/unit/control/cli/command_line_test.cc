// From arguments to a MachineConfig, and the words for what is refused.
#include "vmm/control/cli/command_line.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/captured_log.h"
#include "tests/support/temp_file.h"
#include "vmm/control/cli/help.h"
#include "vmm/control/cli/help_formats.h"
#include "vmm/control/cli/run_flags.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;

namespace {

CommandLine parse(const std::string& text) {
  std::istringstream words(text);
  std::vector<std::string> arguments;
  for (std::string word; words >> word;) arguments.push_back(word);
  return parse_command_line(arguments);
}

struct Refusal {
  std::string what;
  std::string fix;
};

Refusal refusal(const std::string& text) {
  try {
    parse(text);
  } catch (const Error& error) {
    return {error.what(), error.fix()};
  }
  return {};
}

// A page as a reader sees it, without roff's escapes.
std::string plain(std::string page) {
  for (const auto& [from, to] : {std::pair("\\-", "-"), std::pair("\\&", ""), std::pair("\\e", "\\")}) {
    for (size_t at = 0; (at = page.find(from, at)) != std::string::npos; at += std::string_view(to).size()) {
      page.replace(at, std::string_view(from).size(), to);
    }
  }
  return page;
}

using Catch::Matchers::Contains;

}  // namespace

TEST_CASE("command line: the headline command", "[cli]") {
  const CommandLine line = parse("--kernel bzImage --disk rootfs.img");
  CHECK(line.verb == CommandLine::Verb::kRun);
  CHECK(line.machine.kernel == "bzImage");
  REQUIRE(line.machine.disks.size() == 1);
  CHECK(line.machine.disks[0].path == "rootfs.img");
  REQUIRE(line.machine.serial.size() == 1);
  CHECK(line.machine.serial[0].kind == CharConfig::Kind::kStdio);
  CHECK(line.machine.cpus == 1);
  CHECK(line.machine.memory == 1u << 30);
}

TEST_CASE("command line: 'run' is the default verb and may be written", "[cli]") {
  CHECK(parse("run --kernel k").machine.kernel == "k");
}

TEST_CASE("command line: repeated flags keep their order", "[cli]") {
  const MachineConfig machine = parse("--kernel k --disk a --append x --disk b,ro --append y --disk=c").machine;
  REQUIRE(machine.disks.size() == 3);
  CHECK(machine.disks[1].read_only);
  CHECK(machine.disks[2].path == "c");
  CHECK(machine.append == std::vector<std::string>{"x", "y"});
}

TEST_CASE("command line: a value may begin with a dash", "[cli]") {
  CHECK(parse_command_line({"--kernel", "k", "--append=-v --quiet"}).machine.append.front() == "-v --quiet");
}

TEST_CASE("command line: sizes", "[cli]") {
  const auto [text, bytes] = GENERATE(table<std::string, uint64_t>({{"512M", 512ull << 20},
                                                                    {"1G", 1ull << 30},
                                                                    {"1.5G", 3ull << 29},
                                                                    {"2GiB", 2ull << 30},
                                                                    {"65536k", 64ull << 20},
                                                                    {"256", 256ull << 20},
                                                                    {"1T", 1ull << 40}}));
  CHECK(parse("--kernel k --mem " + text).machine.memory == bytes);
}

TEST_CASE("command line: sizes that are none are refused", "[cli]") {
  const std::string text = GENERATE("", "x", "1X", "-1G", "1e400", "nan", "inf", "1GG", "99999999999T");
  CHECK_THAT(refusal("--kernel k --mem=" + text).what, Contains("mem"));
}

TEST_CASE("command line: memory and vCPUs have bounds", "[cli]") {
  CHECK_THAT(refusal("--kernel k --mem 31M").what, Contains("32 MiB to 4 TiB"));
  CHECK_THAT(refusal("--kernel k --mem 5T").what, Contains("32 MiB to 4 TiB"));
  const std::string cpus = GENERATE("0", "255", "256", "1024");
  CHECK_THAT(refusal("--kernel k --cpus " + cpus).what, Contains("1 to 254"));
}

TEST_CASE("command line: numbers that are none are refused", "[cli]") {
  const std::string flag = GENERATE("--cpus x", "--cpus -1", "--cpus 4294967297", "--cpus 2x", "--debug-exit 0x",
                                    "--debug-exit 65536", "--cpus=");
  CHECK_FALSE(refusal("--kernel k " + flag).what.empty());
}

TEST_CASE("command line: the debug exit port may be hexadecimal", "[cli]") {
  CHECK(parse("--kernel k --debug-exit 0xf4").machine.debug_exit_port == 0xf4);
  CHECK(parse("--kernel k --pc-testdev").machine.pc_testdev);
  CHECK(!parse("--kernel k").machine.pc_testdev);
}

TEST_CASE("command line: timeouts are seconds, of which parts count", "[cli]") {
  CHECK(parse("--kernel k").machine.timeout.count() == 0);
  CHECK(parse("--kernel k --timeout 60").machine.timeout == std::chrono::seconds(60));
  CHECK(parse("--kernel k").machine.hang_timeout == std::chrono::seconds(10));
  CHECK(parse("--kernel k --hang-timeout 2").machine.hang_timeout == std::chrono::seconds(2));
  CHECK(parse("--kernel k --hang-timeout none").machine.hang_timeout.count() == 0);
  CHECK(parse("--kernel k --idle-timeout 0.5").machine.idle_timeout == std::chrono::milliseconds(500));
  CHECK(parse("--kernel k --boot-timeout 20 -- true").machine.boot_timeout == std::chrono::seconds(20));
  CHECK_THAT(refusal("--kernel k --boot-timeout 20").what, Contains("--boot-timeout is for a command"));
  const std::string bad = GENERATE("0", "-1", "soon", "5s", "1e300", "nan", "inf");
  CHECK_THAT(refusal("--kernel k --timeout " + bad).what, Contains("'" + bad + "' is no number of seconds"));
  CHECK(refusal("--kernel k --idle-timeout " + bad).fix == "--idle-timeout 60");
}

TEST_CASE("command line: a virtio console on the terminal leaves the serial line without one", "[cli]") {
  const MachineConfig machine = parse("--kernel k --console virtio:stdio").machine;
  CHECK(machine.consoles.at(0).kind == CharConfig::Kind::kStdio);
  CHECK(machine.serial.at(0).kind == CharConfig::Kind::kNull);
}

TEST_CASE("command line: the standard streams serve one console only", "[cli]") {
  CHECK_THAT(refusal("--kernel k --serial stdio --console stdio").what, Contains("standard streams"));
}

TEST_CASE("command line: QEMU's options are answered with their equivalents", "[cli]") {
  const auto [theirs, ours] = GENERATE(table<std::string, std::string>({{"-kernel", "--kernel"},
                                                                        {"-append", "--append"},
                                                                        {"-smp", "--cpus"},
                                                                        {"-m", "--mem"},
                                                                        {"-drive", "--disk"},
                                                                        {"-virtfs", "--share"},
                                                                        {"-version", "--version"}}));
  const Refusal refused = refusal("--kernel k " + theirs + " x");
  CHECK(refused.what.starts_with("unknown option '" + theirs + "'"));
  CHECK_THAT(refused.what, Contains("here it is " + ours));
}

TEST_CASE("command line: -v is a flag by itself, and no part of others", "[cli]") {
  CHECK(parse("--kernel k -v").verbose);
  CHECK(parse("--kernel k --verbose").verbose);
  CHECK_FALSE(parse("--kernel k").verbose);
  CHECK(refusal("--kernel k -vga std").what == "unknown option '-vga'");
  CHECK_THAT(refusal("--kernel k -vnc :0").fix, Contains("there is no display"));
  CHECK(refusal("--kernel k -vv").what == "unknown option '-vv'");
}

TEST_CASE("command line: a flag without its value, or with one that it does not take, is named", "[cli]") {
  CHECK(refusal("--append x --kernel").what == "--kernel needs a value");
  CHECK(refusal("--kernel k --mem").what == "--mem needs a value");
  CHECK(refusal("--kernel k --tap=no").what == "--tap takes no value");
  CHECK(refusal("--kernel k --dry-run=1").what == "--dry-run takes no value");
}

TEST_CASE("command line: an empty value, as of a variable that is not set, is refused where it means nothing",
          "[cli]") {
  for (const std::string flag :
       {"--kernel", "--disk", "--name", "--result", "--junit", "--vmcore", "--log", "--allow", "--fail-on"}) {
    CHECK_THROWS_WITH(parse_command_line({"--kernel", "k", flag, ""}), Contains(flag + ": its value is empty"));
  }
  CHECK(parse_command_line({"--kernel", "k", "--append", ""}).machine.kernel == "k");
  CHECK(parse_command_line({"--kernel", "k", "--cmdline-only", ""}).machine.command_line == "");
}

TEST_CASE("command line: a word that is no flag is told where it belongs", "[cli]") {
  CHECK(refusal("stop ci-3").fix == "vmm poweroff NAME, or vmm kill NAME");
  CHECK_THAT(refusal("--kernel k quiet").what, Contains("unknown argument 'quiet'"));
  CHECK_THAT(refusal("--kernel k quiet").fix, Contains("--append"));
  CHECK(refusal("/dev/null").fix == "if it is a kernel: vmm --kernel /dev/null");
}

TEST_CASE("command line: what is not built yet is refused, never ignored", "[cli]") {
  const std::string verb = GENERATE("snapshot x", "fork x");
  CHECK_THAT(refusal(verb).what, Contains("not built yet"));
}

TEST_CASE("command line: a panic may leave the machine paused for whoever can reach it", "[cli]") {
  const std::string words = "--kernel k --serial null --on-panic pause";
  CHECK_THAT(refusal(words).what, Contains("nobody could tell the machine to go on"));
  CHECK_THAT(refusal(words).fix, Contains("--name NAME"));
  const std::string way = GENERATE(" --name ci", " --ctl ./s", " --gdb");
  CHECK(parse(words + way).pause_on_panic);
  CHECK_FALSE(parse(words + " --on-panic exit").pause_on_panic);
  CHECK_THAT(refusal("--kernel k --on-panic sleep").what, Contains("there is no 'sleep'"));
}

TEST_CASE("command line: gdb may be let in, with and without an address", "[cli][gdb]") {
  CHECK(!parse("--kernel k").debug.listen);
  const CommandLine alone = parse("--kernel k --gdb --cpus 2");
  CHECK(alone.debug.listen);
  CHECK(alone.debug.address.empty());
  CHECK(!alone.machine.paused);
  CHECK(parse("--kernel k --gdb tcp::1234 --vmlinux v").debug.address == "tcp::1234");
  CHECK(parse("--kernel k --on-panic gdb").debug.on_panic);
  CHECK_THAT(refusal("--kernel k --gdb 1234").what, Contains("no address"));
}

TEST_CASE("command line: debug is a run that waits for gdb before its first instruction", "[cli][gdb]") {
  const CommandLine line = parse("debug --kernel k --gdb unix:/tmp/g");
  CHECK(line.verb == CommandLine::Verb::kRun);
  CHECK(line.machine.paused);
  CHECK(line.debug.listen);
  CHECK(line.debug.address == "unix:/tmp/g");
  CHECK(parse("debug --kernel k").debug.listen);
}

TEST_CASE("command line: a vmcore goes where --vmcore says, or to one of that name", "[cli]") {
  CHECK(parse("--kernel k").vmcore.empty());
  CHECK(parse("--kernel k --vmcore f").vmcore == "f");
  CHECK(parse("--kernel k --on-panic dump").vmcore == "vmcore");
  CHECK(parse("--kernel k --on-panic dump --vmcore f").vmcore == "f");
  CHECK(parse("--kernel k --vmcore f --on-panic dump").vmcore == "f");
  CHECK(parse("dump ci-3").request.file == "vmcore");
  CHECK(parse("dump ci-3 f").request.file == "f");
  CHECK(parse("dump ci-3 -o f").request.file == "f");
  CHECK(parse("dump -o f ci-3").request.name == "ci-3");
  CHECK_THAT(refusal("dump").fix, Contains("vmm dump NAME"));
  CHECK_THAT(refusal("dump a b c").fix, Contains("vmm dump NAME"));
}

TEST_CASE("command line: --trace takes a file, or areas whose lines are logged", "[cli][trace]") {
  CHECK(parse("--kernel k --trace F.json").trace == "F.json");
  const CommandLine line = parse("--kernel k --trace virtio,kvm --trace F --trace mmio");
  CHECK(line.traced == std::vector{TraceArea::kVirtio, TraceArea::kKvm, TraceArea::kMmio});
  CHECK(line.trace == "F");
  CHECK_FALSE(parse("--kernel k --trace kvm").machine.trace);
  CHECK(parse("--kernel k --trace ./kvm").trace == "./kvm");
  CHECK_THAT(refusal("--kernel k --trace kvm,virtoi").what, Contains("'virtoi' is none of kvm, mmio, pio and virtio"));
}

TEST_CASE("command line: what is for a running machine takes its name", "[cli][control]") {
  const CommandLine line = parse("sysrq t ci-3");
  CHECK(line.verb == CommandLine::Verb::kControl);
  CHECK(line.request.verb == "sysrq");
  CHECK(line.request.name == "ci-3");
  CHECK(line.request.key == "t");
  CHECK(parse("list").request.name.empty());
  CHECK(parse("--kernel k --ctl here").control_path == "./here");
  CHECK_THAT(refusal("pause").what, Contains("takes the name of a machine"));
  CHECK_THAT(refusal("list x").what, Contains("list takes no 'x'"));
  CHECK_THAT(refusal("sysrq tt x").what, Contains("'tt' is no key"));
  CHECK_THAT(refusal("sysrq x").what, Contains("and a key"));
}

TEST_CASE("command line: what stands behind -- is the command, whatever it looks like", "[cli]") {
  const MachineConfig machine = parse_command_line({"--kernel", "k", "--disk", "d", "--env", "A=1", "--cwd", "/tmp",
                                                    "--", "ls", "--help", "--", "x"})
                                    .machine;
  REQUIRE(machine.command);
  CHECK(machine.command->words == std::vector<std::string>{"ls", "--help", "--", "x"});
  CHECK(machine.command->environment.back() == "A=1");
  CHECK(machine.command->directory == "/tmp");
  CHECK(machine.initrd_kind == InitrdKind::kMade);
  CHECK(machine.serial.at(0).kind == CharConfig::Kind::kNull);
}

TEST_CASE("command line: a variable has one value, the last", "[cli]") {
  const auto environment =
      parse("--kernel k --disk d --env PATH=/a --env PATHS=x --env PATH=/b -- true").machine.command->environment;
  const auto is_path = [](const std::string& variable) { return variable.starts_with("PATH="); };
  CHECK(std::ranges::count_if(environment, is_path) == 1);
  CHECK(std::ranges::find(environment, "PATH=/b") != environment.end());
  CHECK(std::ranges::find(environment, "PATHS=x") != environment.end());
}

TEST_CASE("command line: what does not go with a command, or without one, is refused", "[cli]") {
  CHECK_THAT(refusal("--kernel k --disk d --").what, Contains("no command"));
  CHECK_THAT(refusal("--kernel k --disk d --initrd i -- true").what, Contains("initrd"));
  CHECK_THAT(refusal("--kernel k --disk d --serial stdio -- true").what, Contains("standard streams"));
  CHECK_THAT(refusal("--kernel k --env A=1").what, Contains("--env"));
  CHECK_THAT(refusal("--kernel k --cwd /").what, Contains("--cwd"));
  CHECK_THAT(refusal("--kernel k --disk d --env NO_SUCH_VARIABLE_HERE -- true").what,
             Contains("NO_SUCH_VARIABLE_HERE"));
}

TEST_CASE("command line: --fail-on adds to what a command has from the start", "[cli]") {
  using Lists = std::vector<std::string>;
  CHECK(parse("--kernel k -- true").fail_on == Lists{"oops,kasan,lockup"});
  CHECK(parse("--kernel k --fail-on ktap -- true").fail_on == Lists{"oops,kasan,lockup", "ktap"});
  CHECK(parse("--kernel k --fail-on ktap").fail_on == Lists{"ktap"});
}

TEST_CASE("command line: a kernel says less to a console that nobody reads", "[cli]") {
  const std::vector<std::string> less{"loglevel=5", "x"};
  CHECK(parse("--kernel k --append x -- true").machine.append == less);
  const std::vector<std::string> all{"x"};
  CHECK(parse("--kernel k --append x").machine.append == all);
  CHECK(parse("--kernel k --append x --serial file=f -- true").machine.append == all);
  CHECK(parse("--kernel k --append x --console file=f -- true").machine.append == all);
  CHECK(parse("--kernel k --append x --fail-on oops -- true").machine.append == all);
  CHECK(parse("--kernel k --append x --idle-timeout 5 -- true").machine.append == all);
}

TEST_CASE("command line: a command without a disk has the host's root, read-only, and starts where we are", "[cli]") {
  const MachineConfig machine = parse("--kernel k -- true").machine;
  REQUIRE(machine.rootfs);
  CHECK(machine.rootfs->path == "/");
  CHECK(machine.rootfs->read_only);
  CHECK(machine.rootfs->tag == "root");
  CHECK(machine.initrd_kind == InitrdKind::kMade);
  CHECK(parse("--kernel k --cwd /srv -- true").machine.command->directory == "/srv");
  CHECK_FALSE(parse("--kernel k --disk d -- true").machine.rootfs);
  CHECK(parse("--kernel k --disk d -- true").machine.command->directory == "/");
  CHECK_FALSE(parse("--kernel k --rootfs . -- true").machine.rootfs->read_only);
}

TEST_CASE("command line: where a command starts is where we are when the root is the host's", "[cli]") {
  const TempDirectory place;  // in /tmp, of which the guest has its own
  const std::string before = std::filesystem::current_path();
  const auto start = [](const std::string& words) { return parse(words).machine.command->directory; };
  std::filesystem::current_path(place.path());
  const std::string here = std::filesystem::current_path();
  CHECK(start("--kernel k -- true") == here);
  CHECK(start("--kernel k --rootfs / -- true") == here);
  CHECK(start("--kernel k --rootfs //.,ro -- true") == here);
  CHECK(start("--kernel k --rootfs " + here + " -- true") == "/");
  CapturedLog log;
  std::filesystem::current_path("/proc/self");
  CHECK(start("--kernel k -- true") == "/");
  CHECK_THAT(log.lines(), Contains("/proc/") && Contains("starts in /\n  fix: --cwd"));
  std::filesystem::current_path(before);
}

TEST_CASE("command line: there may be several initrds, but none and auto stand alone", "[cli]") {
  CHECK(parse("--kernel k --initrd a --initrd b").machine.initrds == std::vector<std::string>{"a", "b"});
  CHECK_THAT(refusal("--kernel k --initrd a --initrd none").what, Contains("contradict"));
  CHECK_THAT(refusal("--kernel k --initrd auto --initrd b").what, Contains("contradict"));
}

TEST_CASE("command line: the root may be a directory", "[cli]") {
  const MachineConfig machine = parse("--kernel k --rootfs tree,ro").machine;
  CHECK(machine.rootfs->path == "tree");
  CHECK(machine.rootfs->read_only);
  CHECK(machine.initrd_kind == InitrdKind::kAsNeeded);
}

TEST_CASE("command line: shared directories have different tags", "[cli]") {
  const MachineConfig machine = parse("--kernel k --share a --share b:data,ro --share c").machine;
  REQUIRE(machine.shares.size() == 3);
  CHECK(machine.shares[0].tag == "share");
  CHECK(machine.shares[1].tag == "data");
  CHECK(machine.shares[1].read_only);
  CHECK(machine.shares[2].tag == "share2");
  CHECK_THAT(refusal("--kernel k --share a:x --share b:x").what, Contains("both called 'x'"));
  CHECK_THAT(refusal("--kernel k --share a,rw").what, Contains("'rw'"));
}

TEST_CASE("command line: a vsock has a socket, and the guest an address", "[cli][vsock]") {
  CHECK_FALSE(parse("--kernel k").machine.vsock);
  CHECK(parse("--kernel k --vsock v").machine.vsock->cid == 3);
  CHECK(parse("--kernel k --vsock v,cid=7").machine.vsock->cid == 7);
  CHECK_THAT(refusal("--kernel k --vsock v,cid=2").what, Contains("'cid=2'"));
}

TEST_CASE("command line: a balloon fits into the guest", "[cli][balloon]") {
  CHECK_FALSE(parse("--kernel k").machine.balloon);
  const auto balloon = parse("--kernel k --balloon 256M,reporting=off").machine.balloon;
  REQUIRE(balloon);
  CHECK(balloon->size == 256 << 20);
  CHECK(balloon->deflate_on_oom);
  CHECK_FALSE(balloon->reporting);
  CHECK_FALSE(parse("--kernel k --balloon 0,deflate-on-oom=off").machine.balloon->deflate_on_oom);
  CHECK(parse("--kernel k --balloon 1G").machine.balloon->size == 1 << 30);
  CHECK_THAT(refusal("--kernel k --balloon 2G").what, Contains("larger than the guest's memory"));
  CHECK_THAT(refusal("--kernel k --balloon 2G").fix, Contains("1024M, or less"));
  CHECK_THAT(refusal("--kernel k --balloon much").what, Contains("--balloon: 'much'"));
  CHECK_THAT(refusal("--kernel k --balloon 1M,x=on").what, Contains("'x=on'"));
  CHECK_THAT(refusal("--kernel k --balloon 1M,reporting").what, Contains("'reporting'"));
}

TEST_CASE("command line: unknown words are refused with what may be meant", "[cli]") {
  CHECK_THAT(refusal("bzImage").fix, Contains("--kernel"));
  CHECK_THAT(refusal("--kernel k --frobnicate").what, Contains("--frobnicate"));
  CHECK_THAT(refusal("--kernel").what, Contains("--kernel"));
}

TEST_CASE("command line: choices name what there is", "[cli]") {
  CHECK_THAT(refusal("--kernel k --on-reset jump").fix, Contains("--on-reset exit, --on-reset reboot"));
  CHECK_THAT(refusal("--kernel k --io-engine aio").fix, Contains("threads"));
  CHECK_THAT(refusal("--kernel k --cpu z80").fix, Contains("baseline"));
}

TEST_CASE("command line: the help fits a screen of 40 lines and 105 columns", "[cli]") {
  std::istringstream help{std::string(help_text())};
  size_t lines = 0;
  size_t widest = 0;
  for (std::string line; std::getline(help, line); ++lines) widest = std::max(widest, line.size());
  CHECK(lines <= 40);
  CHECK(widest <= 105);
}

TEST_CASE("command line: help and version win over everything else", "[cli]") {
  CHECK(parse("--kernel --help").verb == CommandLine::Verb::kHelp);
  CHECK(parse("run --version --bogus").verb == CommandLine::Verb::kVersion);
}

TEST_CASE("command line: inspect takes one file", "[cli]") {
  CHECK(parse("inspect vmlinux").image == "vmlinux");
  CHECK_FALSE(refusal("inspect").what.empty());
  CHECK_FALSE(refusal("inspect a b").what.empty());
}

TEST_CASE("command line: with --tap standard output is the report's", "[cli]") {
  const CommandLine line = parse("--kernel k --tap --expect-tap -- true");
  CHECK(line.report.tap);
  CHECK(line.expect_tap);
  CHECK(line.machine.command->output_to_errors);
  CHECK(parse("--kernel k --tap").machine.serial[0].kind == CharConfig::Kind::kNull);
  CHECK_THAT(refusal("--kernel k --tap --serial stdio").what, Contains("cannot both have standard output"));
  CHECK_THAT(refusal("--kernel k --expect-tap").what, Contains("is for a command"));
}

TEST_CASE("command line: the words of `vmm test` are passed on as they are", "[cli]") {
  const CommandLine line = parse("test f --help -- x");
  CHECK(line.verb == CommandLine::Verb::kTest);
  CHECK(line.test == std::vector<std::string>{"f", "--help", "--", "x"});
}

TEST_CASE("help formats: the manual page has every line of the help", "[cli]") {
  const std::string page = plain(formatted_help("man", "1.2.3"));
  CHECK_THAT(page, Catch::Matchers::StartsWith(".TH VMM 1 \"\" \"vmm 1.2.3\"") &&
                       Contains(".SH NAME\nvmm - run a virtual machine"));
  std::istringstream help(help_text());
  std::string line;
  std::getline(help, line);
  while (std::getline(help, line)) {
    if (!line.starts_with("Exit status: ")) CHECK_THAT(page, Contains(line));
  }
  CHECK_THAT(page, Contains(".SH EXIT STATUS\n0 power-off"));
}

TEST_CASE("help formats: every flag of a run is in the help and in each completion", "[cli]") {
  for (const auto& [name, takes_value] : run_flags()) {
    if (name != "verbose" && name != "modules") CHECK_THAT(help_text(), Contains("--" + name));
    CHECK_THAT(formatted_help("bash", ""), Contains(" --" + name + " ") || Contains(" --" + name + "'"));
    CHECK_THAT(formatted_help("zsh", ""), Contains("'*--" + name));
    CHECK_THAT(formatted_help("fish", ""), Contains("complete -c vmm -l " + name + (takes_value ? " -" : "\n")));
  }
}

TEST_CASE("help formats: the verbs of the completions are verbs", "[cli]") {
  const std::string text = formatted_help("fish", "");
  const size_t begin = text.find("-a '") + 4;
  std::istringstream verbs(text.substr(begin, text.find('\'', begin) - begin));
  size_t count = 0;
  for (std::string verb; verbs >> verb; ++count) {
    try {
      parse_command_line({verb});
    } catch (const Error& error) {
      CHECK_THAT(error.what(), !Contains("'" + verb + "' is no"));
      CHECK_THAT(error.what(), !Contains("unknown"));
    }
  }
  CHECK(count > control_verbs().size());
}

TEST_CASE("help formats: choices are what the help names", "[cli]") {
  CHECK(choices_of("--on-panic") == " exit pause gdb dump");
  CHECK(choices_of("--initrd") == " auto none");
  CHECK(choices_of("--kernel").empty());
  CHECK(choices_of("--nothing").empty());
}

TEST_CASE("help formats: another format is refused", "[cli]") {
  CHECK(parse_command_line({"help", "--format=man"}).help_format == "man");
  CHECK(parse_command_line({"help"}).help_format.empty());
  CHECK_THROWS_WITH(formatted_help("html", ""), Contains("no 'html'"));
}
