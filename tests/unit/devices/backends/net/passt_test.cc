// The helper, played by a script where it is to behave in ways that passt would not.
#include "devices/backends/net/passt.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <catch2/catch.hpp>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <sstream>

#include "tests/support/descriptors.h"
#include "tests/support/fake_net_backend.h"
#include "tests/support/net_end.h"
#include "tests/support/temp_file.h"
#include "tests/support/unix_ends.h"
#include "tests/support/wait_until.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

// A program that keeps its arguments, leaves a child that sends back what it gets, and says which process that is.
std::string helper(const TempDirectory& folder, const std::string& first = "") {
  const std::string path = folder.file("helper", "#!/bin/sh\n" + first + "\necho \"$*\" >>" + folder("arguments") +
                                                     "\ncat <&3 >&3 2>/dev/null &\necho $! >" + folder("pid.new") +
                                                     "\nmv " + folder("pid.new") + " " + folder("pid") + "\n");
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  return path;
}
pid_t pid_of(const TempDirectory& folder) { return std::stoi(contents(folder("pid"))); }

std::string refusal(const std::string& program, const std::vector<PortForward>& forwards = {}) {
  EventLoop loop;
  try {
    start_passt(loop, forwards, program);
  } catch (const Error& error) {
    return std::string(error.what()) + "\n" + error.fix();
  }
  return {};
}

}  // namespace

TEST_CASE("passt: one that is not installed is named, with its package", "[net][passt]") {
  CHECK(refusal("no-such-program") ==
        "--net user needs no-such-program, which is not installed\nsudo apt-get install passt");
}

TEST_CASE("passt: one that refuses is quoted", "[net][passt]") {
  TempDirectory folder;
  const std::string program =
      helper(folder,
             "echo 'Failed to send 3 bytes to syslog'; echo \"Failed to bind any port for '-t 1', exiting\" >&2\n"
             "echo 'Failed to send 44 bytes to syslog'; exit 1");
  CHECK_THAT(refusal(program), Contains("refuses: Failed to bind any port for '-t 1', exiting\n"));
  CHECK_THAT(refusal(helper(folder, "exit 7")), Contains("it ended with status 7"));
}

TEST_CASE("passt: a port that cannot be had is named, with the reason and what mends that", "[net][passt]") {
  TempDirectory folder;
  const std::string program = helper(folder, "echo \"Failed to bind any port for '-t 1', exiting\" >&2; exit 1");
  const UniqueFd taken(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof name;
  REQUIRE(::bind(taken.get(), reinterpret_cast<sockaddr*>(&name), size) == 0);
  REQUIRE(::listen(taken.get(), 1) == 0);
  REQUIRE(::getsockname(taken.get(), reinterpret_cast<sockaddr*>(&name), &size) == 0);
  const uint16_t port = ntohs(name.sin_port);
  CHECK_THAT(refusal(program, {{"127.0.0.1", port, 22}}),
             Contains("port " + std::to_string(port) + " of 127.0.0.1 cannot be had: Address already in use\n") &&
                 Contains("another program has the port"));
  CHECK_THAT(refusal(program, {{"192.0.2.1", 2222, 22}}),
             Contains("Cannot assign requested address\n") && Contains("an address of this host"));
}

TEST_CASE("passt: a port that is root's has a fix of its own", "[net][passt]") {
  CHECK_THAT(fix_for_port(EACCES, {"127.0.0.1", 80, 8080}),
             Contains("fwd=8080:8080, or sudo sysctl net.ipv4.ip_unprivileged_port_start=80"));
}

TEST_CASE("passt: on a host without a route it is told to do without", "[net][passt]") {
  TempDirectory folder;
  const std::string program =
      helper(folder, "case \"$*\" in *'--interface lo'*) ;; *) echo 'External interface not usable'; exit 1;; esac");
  EventLoop loop;
  const auto endpoint = start_passt(loop, {}, program);
  CHECK_THAT(contents(folder("arguments")), Contains("--interface lo"));
  ::kill(pid_of(folder), SIGKILL);
}

TEST_CASE("passt: it gets the ports, its stream carries frames, and it ends with its socket", "[net][passt]") {
  TempDirectory folder;
  EventLoop loop;
  auto net = std::make_unique<StreamNet>(
      loop, start_passt(loop, {{"127.0.0.1", 2222, 22}, {"0.0.0.0", 8080, 80}}, helper(folder)));
  CHECK(net->describe() == "user, 127.0.0.1:2222 to 22, 0.0.0.0:8080 to 80");
  CHECK_THAT(contents(folder("arguments")),
             Contains("--fd 3 ") && Contains("--tcp-ports 127.0.0.1/2222:22 --tcp-ports 0.0.0.0/8080:80"));
  const std::string frame = std::string(kNetHeader, '\0') + ethernet("aaaaaa", "bbbbbb", 60);
  CHECK(send(*net, frame));
  CHECK(wait_until(loop, [&] { return receive(*net) == frame; }));
  const std::string process = "/proc/" + std::to_string(pid_of(folder)) + "/cmdline";
  CHECK_FALSE(contents(process).empty());
  net.reset();
  CHECK(wait_until(loop, [&] { return contents(process).empty(); }));  // gone, or waiting to be reaped
}

TEST_CASE("passt: its socket has room for more frames than one usually has", "[net][passt]") {
  TempDirectory folder;
  EventLoop loop;
  // It writes into its socket, without waiting, until that is full, and says how much that was.
  const std::string program =
      helper(folder, "dd if=/dev/zero bs=4096 count=4096 oflag=nonblock >&3 2>" + folder("wrote"));
  const auto endpoint = start_passt(loop, {}, program);
  int usual = 0;
  socklen_t size = sizeof usual;
  const StreamPair pair;
  REQUIRE(::getsockopt(pair.ours.get(), SOL_SOCKET, SO_SNDBUF, &usual, &size) == 0);
  std::istringstream lines(contents(folder("wrote")));
  for (std::string line; std::getline(lines, line);) {
    if (const size_t at = line.find(" bytes"); at != line.npos) CHECK(std::stoi(line) > usual);
  }
  CHECK_THAT(contents(folder("wrote")), Contains(" bytes"));
  ::kill(pid_of(folder), SIGKILL);
}

TEST_CASE("passt: one that dies is started again, and the link with it", "[net][passt]") {
  TempDirectory folder;
  EventLoop loop;
  CountingClient client;
  StreamNet net(loop, start_passt(loop, {}, helper(folder)));
  net.attach(&client);
  CHECK(net.link_up());
  CHECK(receive(net) == "nothing");
  const pid_t before = pid_of(folder);
  ::kill(before, SIGKILL);
  CHECK(wait_until(loop, [&] { return receive(net) == "nothing" && !net.link_up(); }));
  CHECK(wait_until(loop, [&] { return net.link_up(); }));
  CHECK(client.changes == 2);
  CHECK(pid_of(folder) != before);
  const std::string frame = std::string(kNetHeader, '\0') + ethernet("aaaaaa", "bbbbbb", 60);
  CHECK(send(net, frame));
  CHECK(wait_until(loop, [&] { return receive(net) == frame; }));
}

TEST_CASE("passt: one that cannot be started again leaves the link down, and is tried again", "[net][passt]") {
  TempDirectory folder;
  EventLoop loop;
  const std::string program =
      helper(folder, "[ ! -e " + folder("broken") + " ] || { echo tried >>" + folder("tries") + "; exit 1; }");
  StreamNet net(loop, start_passt(loop, {}, program));
  folder.file("broken", "");
  ::kill(pid_of(folder), SIGKILL);
  CHECK(wait_until(loop, [&] { return receive(net) == "nothing" && contents(folder("tries")).size() >= 12; }));
  CHECK_FALSE(net.link_up());
  std::filesystem::remove(folder("broken"));
  CHECK(wait_until(loop, [&] { return net.link_up(); }));
}

TEST_CASE("passt: the real one, where it is installed, answers for the host's address", "[net][passt]") {
  if (std::system("command -v passt >/dev/null") != 0) {
    WARN("skipped: passt is not installed");
    return;
  }
  EventLoop loop;
  StreamNet net(loop, start_passt(loop, {}));
  CHECK(net.link_up());
  // Who has 10.0.2.2, asked by 10.0.2.15 (RFC 826).
  const std::string own("\x52\x54\0\0\0\x01", 6), anybody(6, '\xff');
  const std::string question = std::string("\x08\x06\0\x01\x08\0\x06\x04\0\x01", 10) + own + "\x0a" +
                               std::string("\0\x02\x0f", 3) + std::string(6, '\0') + "\x0a" +
                               std::string("\0\x02\x02", 3) + std::string(18, '\0');
  CHECK(send(net, std::string(kNetHeader, '\0') + anybody + own + question));
  const std::string answer = std::string("\0\x02", 2) + "\x52\x55\x0a" + std::string("\0\x02\x02", 3);
  CHECK(wait_until(loop, [&] { return receive(net).find(answer) != std::string::npos; }));
}
