// The text, with what this program's architecture has; see help.h.
#include "vmm/control/cli/help.h"

#include <string_view>

#include "firmware/kernel_format.h"
#include "vmm/machine/architecture.h"

namespace vmm {

namespace {

constexpr std::string_view kHelp =
    R"(vmm: run a virtual machine, and say why it ended

  vmm --kernel bzImage --disk rootfs.img          boot it, console here; with -- CMD, run that in it
  vmm test [vmm.toml] [-- CMD]                    kernels x configurations x commands; vmm test --help
  vmm inspect IMAGE | doctor | debug | boot-report F  this kernel; this host; run with gdb; a --trace
  vmm list | console|why|dmesg|stats|dump|balloon|pause|resume|reset|poweroff|nmi|kill N | sysrq KEY N

What boots
  --kernel F           @KERNELS@; found by content [./@KERNEL@]
  --initrd F|auto|none initial RAM disk (repeat; Multiboot: "F ARGS"); auto: of --modules DIR [as needed]
  --append S           add to the kernel's command line (repeat); --cmdline-only S replaces it
The machine
  --cpus N, --mem SIZE 1 to @CPUS@ virtual CPUs [1]; memory: 512M, 1G, ... [1G]
  --balloon SIZE       takes SIZE from it, and what it frees; ,deflate-on-oom=off ,reporting=off [none]
  --cpu MODEL          host or baseline (x86-64-v1), then ,+feature ,-feature [host]
  --disk F[,OPTIONS]   a disk (repeat): ro ephemeral direct serial=S queues=N block-size=N sparse=off
  --net NETWORK        a card (repeat): user[,fwd=2222:22] (no privileges; ssh -p 2222 root@127.0.0.1),
                       tap=NAME[,queues=N], tap-fd=N, socket=PATH, none; mac=A filter=on pcap=F [none]
  --rootfs DIR[,ro]    a directory as the root file system [with CMD and no disk: /,ro]
  --share DIR[:TAG][,ro]  for mount -t virtiofs TAG /mnt [share]; disk, net, share: vhost-user=SOCKET too
  --vsock PATH[,cid=N] a Unix socket to the guest's vsock ports ("CONNECT PORT"); PATH_PORT from it [3]
  --debug-exit PORT    writing V there ends the run with (V << 1) | 1; --pc-testdev (QEMU's); --no-rng
Consoles, and what CMD gets
  --serial KIND        stdio, file=F, pty, unix=F, tcp=HOST:PORT, null; ,ts ,log=F ,split-gdb=A [stdio]
  --console KIND       the same as a virtio console (hvc0), with window size (both: repeat)
  --escape KEY         ^A, ^] or none: the key before h (help), x (quit) and others [^A]
  --env NAME[=V], --cwd DIR  a variable for CMD (repeat); where it starts [here, in /; else /]
How it ends
  --on-reset WHAT      exit (104), reboot, pause [exit]; --on-panic exit|pause|gdb|dump; --vmcore F
  --timeout S          ends the run (124), log and stacks are shown; --hang-timeout S: hung (102) [10]
  --boot-timeout S, --idle-timeout S  the same: CMD not started by then; no output for S
  --fail-on LIST       kernel messages that fail a run that ended well (97): oops warn kasan lockup hung
                       rcu ubsan lockdep REGEX ktap (its tests); none clears [with CMD oops,kasan,lockup]
  --allow FILE         regular expressions, one a line, of messages that are none
  --result F, --junit F, --github  the verdict in full; --exit-style simple|crosvm  as others number it
  --tap, --expect-tap  it as TAP on standard output, CMD's goes to standard error; fail if CMD's TAP does
This program (--version, --help, --dry-run: print what would run, --io-engine io_uring|threads)
  --name N, --ctl PATH, --log F, -v  its name for others; its control socket; messages to a file; more
  --gdb [unix:P|tcp::PORT], --vmlinux F, --paused  for gdb; --trace F, or lines: kvm,mmio,pio,virtio
Exit status: 0 power-off, 96-104 the guest died, 124 timeout, 125 vmm failed, 130 quit, 143 SIGTERM.
)";

}  // namespace

std::string help_text() {
  std::string text(kHelp);
  const auto fill_in = [&text](std::string_view mark, std::string_view words) {
    text.replace(text.find(mark), mark.size(), words);
  };
  fill_in("@KERNELS@", kArchitecture.kernels);
  fill_in("@KERNEL@", usual_kernels().front());
  fill_in("@CPUS@", std::to_string(kArchitecture.max_cpus));
  return text;
}

}  // namespace vmm
