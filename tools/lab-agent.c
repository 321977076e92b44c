// The lab's init, and the far end of tools/lab. It is the only program in the lab's initrd: it loads the
// modules, puts a throw-away overlay (on the scratch disk) over the host's root (9p, read-only), moves into it,
// and then runs one command for tools/lab, to which a virtio-serial port leads: firmware/guest/command.h.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "firmware/guest/command.h"

// ---------------------------------------------------------------------------------------------- the place

static void load_modules(void) {
  FILE* order = fopen("/modules/order", "r");
  char name[256], path[512];
  while (order && fscanf(order, "%255s", name) == 1) {
    snprintf(path, sizeof path, "/modules/%s", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    // What this guest's CPU cannot do (nested=1 in kvm_amd, say) is left to the command to miss.
    if (fd < 0 || syscall(SYS_finit_module, fd, strcmp(name, "kvm-amd.ko") ? "" : "nested=0", 0))
      fprintf(stderr, "lab-agent: %s: %s\n", name, strerror(errno));
    close(fd);
  }
  if (order) fclose(order);
}

static void mount_at(const char* source, const char* target, const char* type, unsigned long flags,
                     const char* options) {
  mkdir(target, 0755);
  if (mount(source, target, type, flags, options)) die(target);
}

static void wait_for(const char* path) {
  for (int tries = 0; access(path, F_OK); tries++) {
    if (tries == 5000) die(path);
    usleep(2000);
  }
}

static void make_root(void) {
  mount_at("host", "/host", "9p", MS_RDONLY, "trans=virtio,version=9p2000.L,msize=512000,cache=loose");
  wait_for("/dev/vda");
  mount_at("/dev/vda", "/scratch", "ext4", MS_NOATIME, "nobarrier");
  mkdir("/scratch/upper", 0755);
  mkdir("/scratch/work", 0755);
  mount_at("overlay", "/root", "overlay", 0, "lowerdir=/host,upperdir=/scratch/upper,workdir=/scratch/work");
  if (mount("/dev", "/root/dev", NULL, MS_MOVE, NULL)) die("moving /dev");
  if (chdir("/root") || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/")) die("changing the root");

  mount_at("proc", "/proc", "proc", 0, NULL);
  mount_at("sysfs", "/sys", "sysfs", 0, NULL);
  mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL);
  mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
  mount_at("run", "/run", "tmpfs", 0, "mode=755");
  mount_at("devpts", "/dev/pts", "devpts", 0, "ptmxmode=666,gid=5,mode=620");
  mount_at("shm", "/dev/shm", "tmpfs", 0, "mode=1777");
  mkdir("/run/lock", 01777);
  // What udev would have done.
  symlink("/proc/self/fd", "/dev/fd");
  symlink("/proc/self/fd/0", "/dev/stdin");
  symlink("/proc/self/fd/1", "/dev/stdout");
  symlink("/proc/self/fd/2", "/dev/stderr");
  chmod("/dev/kvm", 0666);
  chmod("/dev/net/tun", 0666);
  sethostname("lab", 3);

  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
  ioctl(fd, SIOCSIFFLAGS, &loopback);
  close(fd);
}

// The only port there is; its number depends on how many virtio devices come before.
static int open_port(void) {
  glob_t found;
  for (int tries = 0; glob("/dev/vport*", 0, NULL, &found); tries++) {
    if (tries == 5000) die("no port to tools/lab");
    usleep(2000);
  }
  int port = open(found.gl_pathv[0], O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (port < 0) die(found.gl_pathv[0]);
  return port;
}

int main(void) {
  mount("dev", "/dev", "devtmpfs", 0, NULL);
  load_modules();
  make_root();
  struct rlimit files = {1024, 524288};
  setrlimit(RLIMIT_NOFILE, &files);
  struct command_result result = serve_command(open_port());
  report_result(&result);
  // tools/lab ends the machine when it has read the last frame; nothing in it is worth a clean shutdown.
  sleep(5);
  reboot(RB_POWER_OFF);
}
