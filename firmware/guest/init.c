// The init of the initramfs that vmm makes (firmware/initramfs.h): brings up the root file system that the kernel
// command line names, with the modules that came along, and then
//   - hands over to that system's own init, or,
//   - with /command in the initramfs, runs one command in it for `vmm ... -- CMD`, over the virtio-serial port
//   vmm.command.
//
// Where it gets no further it tells the kernel's log why and ends, so that the kernel panics, as it would without this
// init. With a command the machine may also power off, which no command's success looks like.
//
// Of the command line it obeys root=, rootfstype=, rootflags=, ro, rw and init=, as the kernel would
// (Documentation/admin-guide/kernel-parameters.txt); root= is a device's path, or a tag with rootfstype=virtiofs.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "firmware/guest/command.h"

static char command_line[8192];
static char modules_missed[512];

// The value of the last KEY=... on the command line, else `otherwise`; a value ends at a space.
static const char* option(const char* key, const char* otherwise) {
  static char value[1024];
  const char* found = NULL;
  size_t length = strlen(key);
  for (const char* at = command_line; (at = strstr(at, key)); at += length)
    if ((at == command_line || at[-1] == ' ') && at[length] == '=') found = at + length + 1;
  if (!found) return otherwise;
  snprintf(value, sizeof value, "%.*s", (int)strcspn(found, " "), found);
  return strdup(value);
}

static int has_word(const char* word) {
  size_t length = strlen(word);
  for (const char* at = command_line; (at = strstr(at, word)); at += length)
    if ((at == command_line || at[-1] == ' ') && (at[length] == ' ' || !at[length])) return 1;
  return 0;
}

static void read_command_line(void) {
  int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
  ssize_t got = fd < 0 ? -1 : read(fd, command_line, sizeof command_line - 1);
  close(fd);
  command_line[got < 0 ? 0 : got] = 0;
  command_line[strcspn(command_line, "\n")] = 0;
}

// In the order of their list, in which each stands after those it needs. One that this kernel refuses is left out:
// what needs it will be missed by name.
static void load_modules(void) {
  FILE* order = fopen("/modules/order", "r");
  char name[256], path[512];
  while (order && fscanf(order, "%255s", name) == 1) {
    snprintf(path, sizeof path, "/modules/%s", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    // ENODEV says one that is for another CPU.
    if ((fd < 0 || syscall(SYS_finit_module, fd, "", 0)) && errno != EEXIST && errno != ENODEV) {
      fprintf(stderr, "init: module %s: %s\n", name, strerror(errno));
      size_t length = strlen(modules_missed);
      snprintf(modules_missed + length, sizeof modules_missed - length, " %s", name);
    }
    close(fd);
  }
  if (order) fclose(order);
}

// Ends, with a line at the level of a panic: the kernel's own words, where it has some, so that whoever reads the
// console or the log, vmm included (vmm/machine/panic_watch.h), knows what it means.
static _Noreturn void give_up(const char* format, ...) {
  char line[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  fprintf(stderr, "<0>%s\n", line);
  exit(1);
}

static _Noreturn void no_root(const char* root, const char* why) {
  if (*modules_missed) fprintf(stderr, "<0>init: modules that did not load:%s\n", modules_missed);
  give_up("VFS: Unable to mount root fs on \"%s\": %s", root, why);
}

// Each file system that the kernel knows and that lives on a device.
static void mount_as_any(const char* device, unsigned long flags, const char* data) {
  FILE* known = fopen("/proc/filesystems", "r");
  char line[128], name[64];
  int error = 0;
  while (known && fgets(line, sizeof line, known)) {
    if (line[0] != '\t' || sscanf(line, " %63s", name) != 1) continue;
    if (!mount(device, "/root", name, flags, data)) return (void)fclose(known);
    if (errno != EINVAL) error = errno;
  }
  no_root(device, error ? strerror(error) : "there is no file system on it that this kernel knows");
}

static void mount_root(void) {
  const char *root = option("root", NULL), *type = option("rootfstype", NULL), *data = option("rootflags", NULL);
  unsigned long flags = has_word("rw") ? 0 : MS_RDONLY;
  if (!root) no_root("", "nothing says what the root file system is");
  int is_device = !type || strcmp(type, "virtiofs");
  if (is_device && strncmp(root, "/dev/", 5)) no_root(root, "this init knows only /dev/NAME");
  // A device may come up a while after its driver.
  for (int tries = 0; is_device && access(root, F_OK); tries++) {
    if (tries == 1000) no_root(root, "there is no such device");
    usleep(5000);
  }
  if (!type) return mount_as_any(root, flags, data);
  if (mount(root, "/root", type, flags, data)) no_root(root, strerror(errno));
}

static void enter_root(void) {
  mkdir("/root/dev", 0755);  // a directory of somebody's may have none
  if (mount("/dev", "/root/dev", NULL, MS_MOVE, NULL) && mount("dev", "/root/dev", "devtmpfs", 0, NULL)) {
    give_up("init: /dev: %s", strerror(errno));
  }
  umount2("/proc", MNT_DETACH);
  umount2("/sys", MNT_DETACH);
  if (chdir("/root") || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/")) {
    give_up("init: changing the root: %s", strerror(errno));
  }
}

// ------------------------------------------------------------------------------------------------ its own init

// Its standard error is the console again, if it starts.
static void execute(char* init, char** argv, char** env) {
  int log = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
  dup2(STDOUT_FILENO, STDERR_FILENO);
  argv[0] = init;
  execve(init, argv, env);
  int error = errno;
  dup2(log, STDERR_FILENO);
  close(log);
  errno = error;
}

static _Noreturn void become_init(char** argv, char** env) {
  static const char* const kUsual[] = {"/sbin/init", "/etc/init", "/bin/init", "/bin/sh"};
  const char* wanted = option("init", NULL);
  if (wanted) {
    execute(strdup(wanted), argv, env);
    give_up("Requested init %s failed (error %d).", wanted, -errno);
  }
  for (size_t i = 0; i < sizeof kUsual / sizeof *kUsual; i++) {
    execute(strdup(kUsual[i]), argv, env);
  }
  give_up("No working init found.  Try passing init= option to kernel.");
}

// ------------------------------------------------------------------------------------------------ one command

static void mount_if_there(const char* source, const char* target, const char* type, const char* options) {
  if (access(target, F_OK) && mkdir(target, 0755)) return;
  mount(source, target, type, 0, options);
}

// What a program takes for granted and an init would have set up. A root that cannot be written gets places that can.
static void furnish(void) {
  mount_if_there("proc", "/proc", "proc", NULL);
  mount_if_there("sysfs", "/sys", "sysfs", NULL);
  mount_if_there("cgroup2", "/sys/fs/cgroup", "cgroup2", NULL);
  mount_if_there("debugfs", "/sys/kernel/debug", "debugfs", NULL);
  mount_if_there("tracefs", "/sys/kernel/tracing", "tracefs", NULL);
  mount_if_there("run", "/run", "tmpfs", "mode=755");
  mount_if_there("devpts", "/dev/pts", "devpts", "ptmxmode=666,gid=5,mode=620");
  mount_if_there("shm", "/dev/shm", "tmpfs", "mode=1777");
  if (access("/tmp", W_OK)) mount_if_there("tmp", "/tmp", "tmpfs", "mode=1777");
  if (access("/var/tmp", W_OK)) mount_if_there("tmp", "/var/tmp", "tmpfs", "mode=1777");
  mkdir("/run/lock", 01777);
  symlink("/proc/self/fd", "/dev/fd");
  symlink("/proc/self/fd/0", "/dev/stdin");
  symlink("/proc/self/fd/1", "/dev/stdout");
  symlink("/proc/self/fd/2", "/dev/stderr");
  sethostname("vmm", 3);
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
  if (fd >= 0) ioctl(fd, SIOCSIFFLAGS, &loopback);
  close(fd);
}

// The device node of the port that is called `wanted`, as sysfs tells (Documentation/ABI: /sys/class/virtio-ports).
static int open_port_once(const char* wanted) {
  DIR* ports = opendir("/sys/class/virtio-ports");
  int port = -1;
  for (struct dirent* entry; port < 0 && ports && (entry = readdir(ports));) {
    char path[512], name[64] = "";
    snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
    FILE* file = fopen(path, "r");
    if (!file) continue;
    if (fscanf(file, "%63s", name) == 1 && !strcmp(name, wanted)) {
      snprintf(path, sizeof path, "/dev/%s", entry->d_name);
      port = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    }
    fclose(file);
  }
  if (ports) closedir(ports);
  return port;
}

static int open_port(const char* name) {
  for (int tries = 0; tries < 2000; tries++) {
    int port = open_port_once(name);
    if (port >= 0) return port;
    usleep(tries < 200 ? 1000 : 10000);
  }
  errno = ENODEV;
  die("no port to vmm: this kernel has no virtio_console");
}

static _Noreturn void run_command(void) {
  furnish();
  struct command_result result = serve_command(open_port("vmm.command"));
  // The host may end the machine as soon as it knows, so everything that was written is safe first.
  kill(-1, SIGKILL);
  sync();
  mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
  report_result(&result);
  reboot(RB_POWER_OFF);
  for (;;) pause();
}

int main(int argc, char** argv, char** env) {
  (void)argc;
  mount("dev", "/dev", "devtmpfs", 0, NULL);
  int console = open("/dev/console", O_RDWR | O_NOCTTY);
  for (int fd = 0; console >= 0 && fd < 3; fd++) dup2(console, fd);
  // What this init says is in the kernel's log even where no console is watched.
  int log = open("/dev/kmsg", O_WRONLY);
  if (log >= 0) dup2(log, STDERR_FILENO), close(log);
  if (mount("proc", "/proc", "proc", 0, NULL) || mount("sysfs", "/sys", "sysfs", 0, NULL)) {
    give_up("init: /proc and /sys: %s", strerror(errno));
  }
  read_command_line();
  int for_command = access("/command", F_OK) == 0;
  load_modules();
  mount_root();
  enter_root();
  if (for_command) run_command();
  become_init(argv, env);
}
