// Networks as a Linux guest uses them: through a tap, through passt, and between two machines. They need root for the
// tap, which the lab's tests have.
#include <catch2/catch.hpp>
#include <fstream>
#include <thread>

#include "tests/support/guests.h"
#include "tests/support/network_ends.h"
#include "tests/support/temp_file.h"

using namespace vmm::test;
using Catch::Matchers::Contains;
using std::chrono::seconds;

namespace {

constexpr const char* kHost = "192.168.77.1";
constexpr const char* kGuest = "192.168.77.2";

// A tap of the host's, with an address.
struct HostTap {
  explicit HostTap(const std::string& options = "") : create("ip tuntap add vt0 mode tap " + options) { make(); }
  HostTap(const HostTap&) = delete;
  HostTap& operator=(const HostTap&) = delete;
  ~HostTap() { (void)!std::system("ip link del vt0 2>/dev/null"); }
  void make() const { host(create + " && ip addr add " + kHost + "/24 dev vt0 && ip link set vt0 up"); }
  std::string create;
};

void set_address(TestVm& vm, const std::string& address) {
  vm.run("ip link set eth0 up; ip addr add " + address + "/24 dev eth0");
}

// Waits in the guest until a file says what it should.
std::string wait_file(TestVm& vm, const std::string& file, const std::string& value) {
  return vm.run("for i in $(seq 600); do [ \"$(cat " + file + " 2>/dev/null)\" = " + value +
                " ] && break; usleep 50000; done; cat " + file);
}

std::string random_bytes(size_t size) {
  std::string bytes(size, '\0');
  std::ifstream("/dev/urandom", std::ios::binary).read(bytes.data(), static_cast<std::streamsize>(size));
  return bytes;
}

std::string md5(const TempDirectory& files, const std::string& content) {
  return host("md5sum <" + files.file("content", content)).substr(0, 32);
}

// Megabytes both ways at once by TCP, with their sums compared.
void transfer(TestVm& vm, const TempDirectory& files) {
  const std::string bytes = random_bytes(1 << 20);
  vm.run("head -c 1048576 /dev/urandom >/tmp/out; echo done >/tmp/done");
  vm.start_server(6000, "nc -l -p 6000 </tmp/done >/tmp/in");
  std::jthread sender([&bytes] { talk(kGuest, 6000, bytes); });
  const TcpServer server(kHost, 6001);
  vm.start(std::string("nc ") + kHost + " 6001 </tmp/out");
  const std::string received = server.receive();
  sender.join();
  CHECK(received.size() == 1 << 20);
  CHECK(vm.run("md5sum </tmp/out").substr(0, 32) == md5(files, received));
  CHECK(vm.run("wait; md5sum </tmp/in").substr(0, 32) == md5(files, bytes));
}

void kill_helpers() {
  host("for p in /proc/[0-9]*; do case $(cat $p/comm 2>/dev/null) in passt*) kill -9 ${p#/proc/};; esac; done; true");
}

}  // namespace

TEST_CASE("net: a tap carries pings and TCP both ways, goes down and up, away and back", "[boot][net]") {
  const HostTap tap;
  const TempDirectory files;
  TestVm vm(small_kernel() + tiny_initramfs() +
            Words{"--net", "tap=vt0,mac=52:54:00:00:00:42,pcap=" + files("net.pcap")});
  vm.wait_for_message("| net vt0 (tap)");
  vm.wait_for("tiny: ready");
  CHECK(vm.run("cat /sys/class/net/eth0/address") == "52:54:00:00:00:42");
  set_address(vm, kGuest);
  CHECK(vm.run("cat /sys/class/net/eth0/carrier /sys/class/net/eth0/mtu") == "1\n1500");
  CHECK_THAT(vm.run(std::string("ping -c 2 -W 20 ") + kHost), Contains("2 packets received"));
  CHECK_THAT(host(std::string("ping -c 2 -W 20 ") + kGuest), Contains("2 received"));
  transfer(vm, files);

  host("ip link set vt0 down");
  CHECK(wait_file(vm, "/sys/class/net/eth0/carrier", "0") == "0");
  host("ip link set vt0 up");
  CHECK(wait_file(vm, "/sys/class/net/eth0/carrier", "1") == "1");
  CHECK_THAT(vm.run(std::string("ping -c 2 -W 20 ") + kHost), Contains("2 packets received"));
  host("ip link del vt0");
  CHECK(wait_file(vm, "/sys/class/net/eth0/carrier", "0") == "0");
  tap.make();
  CHECK(wait_file(vm, "/sys/class/net/eth0/carrier", "1") == "1");
  CHECK_THAT(vm.run(std::string("ping -c 2 -W 20 ") + kHost), Contains("2 packets received"));
  vm.send("exit\n");
  CHECK(vm.wait_exit() == 0);
  CHECK(host("stat -c %s " + files("net.pcap")).size() > 7);  // megabytes
}

TEST_CASE("net: a tap of two queues serves a guest of two CPUs", "[boot][net]") {
  const HostTap tap("multi_queue");
  const TempDirectory files;
  TestVm vm(small_kernel() + tiny_initramfs() + Words{"--net", "tap=vt0,queues=2,filter=on", "--cpus", "2"});
  vm.wait_for("tiny: ready");
  set_address(vm, kGuest);
  CHECK_THAT(vm.run("cat /proc/interrupts"), Contains("virtio0-input.1") && Contains("virtio0-output.1"));
  transfer(vm, files);
  // It may call itself what it likes, but is not heard then.
  CHECK_THAT(vm.run(std::string("ip link set eth0 address 52:54:00:00:00:99; ping -c 1 -W 3 ") + kHost),
             Contains("0 packets received"));
  vm.send("exit\n");
  CHECK(vm.wait_exit() == 0);
}

TEST_CASE("net: two machines talk over a socket", "[boot][net]") {
  const TempDirectory files;
  const Words words = small_kernel() + tiny_initramfs() + Words{"--net", "socket=" + files("net")};
  TestVm one(words), two(words);
  one.wait_for("tiny: ready");
  two.wait_for("tiny: ready");
  set_address(one, "10.1.1.1");
  set_address(two, "10.1.1.2");
  CHECK_THAT(one.run("ping -c 2 -W 20 10.1.1.2"), Contains("2 packets received"));
  two.send("exit\n");
  CHECK(two.wait_exit() == 0);
  CHECK(wait_file(one, "/sys/class/net/eth0/carrier", "0") == "0");
  one.send("exit\n");
  CHECK(one.wait_exit() == 0);
}

TEST_CASE("net: a user network gives an address, forwards a port, and outlives its helper", "[boot][net]") {
  TestVm vm(small_kernel() + tiny_initramfs() + Words{"--net", "user,fwd=2222:22"});
  vm.wait_for_message("| net user, 127.0.0.1:2222 to 22");
  vm.wait_for("tiny: ready");
  vm.run(
      "printf '#!/bin/sh\\n[ \"$1\" = bound ] && ip addr add $ip/$mask dev $interface && "
      "ip route add default via $router\\ntrue\\n' >/dhcp; chmod +x /dhcp; ip link set eth0 up");
  CHECK_THAT(vm.run("udhcpc -i eth0 -s /dhcp -n -q; ip addr show eth0"), Contains("10.0.2.15/24"));
  const auto answers = [&vm](const std::string& text) {
    vm.start_server(22, "(echo " + text + "; sleep 1) | nc -l -p 22 >/tmp/in");
    return talk("127.0.0.1", 2222, "to the guest") == text + "\n" && vm.run("wait; cat /tmp/in") == "to the guest";
  };
  CHECK(answers("one"));

  kill_helpers();
  vm.wait_for_message("the guest's link is down");
  vm.wait_for_message("passt was started again");
  CHECK(wait_file(vm, "/sys/class/net/eth0/carrier", "1") == "1");
  CHECK(vm.run("dmesg | grep -c 'eth0: link' || true") != "");
  CHECK(answers("two"));
  vm.send("exit\n");
  CHECK(vm.wait_exit() == 0);
}

TEST_CASE("net: Debian gets an address by itself, and its SSH answers at a port of the host", "[boot][net][debian]") {
  TestVm vm(debian_kernel() +
            Words{"--disk", image("DEBIAN", "rootfs.img") + ",ephemeral", "--net", "user,fwd=2222:22"});
  vm.wait_for("login: ", seconds(300));
  vm.send("root\n");
  vm.wait_for("# ");
  CHECK_THAT(vm.run("networkctl up 2>/dev/null; for i in $(seq 60); do ip -4 addr show | grep -q 10.0.2.15 && break; "
                    "sleep 1; done; "
                    "ip -4 addr show",
                    seconds(200)),
             Contains("10.0.2.15/24"));
  CHECK_THAT(vm.run("ip route"), Contains("default via 10.0.2.2"));
  CHECK(talk("127.0.0.1", 2222, "SSH-2.0-test\r\n").starts_with("SSH-2.0-OpenSSH"));
  vm.send("poweroff\n");
  CHECK(vm.wait_exit(seconds(200)) == 0);
}
