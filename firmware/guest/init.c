// The init of the initramfs that vmm makes (firmware/initramfs.h): brings up the root file system that the kernel
// command line names, with the modules that came along, and then
//   - hands over to that system's own init, or,
//   - with /command in the initramfs, runs one command in it for `vmm ... -- CMD`, over the virtio-serial port
//   vmm.command. The file names the directory where the command starts, which stays in sight when something of the
//   guest's own, such as its /tmp, is mounted over it.
//
// Where it gets no further it tells the kernel's log why and ends, so that the kernel panics, as it would without this
// init. With a command the machine may also power off, which no command's success looks like.
//
// Of the command line it obeys root=, rootfstype=, rootflags=, ro, rw and init=, as the kernel would
// (Documentation/admin-guide/kernel-parameters.txt); root= is a device's path, its number, what libblkid finds on it,
// or a tag with rootfstype=virtiofs.
#define _GNU_SOURCE
#include <blkid/blkid.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <net/if.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
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

// What is written on a disk or partition, as libblkid calls it; NULL when there is no such thing.
static const char* written_on(const char* device, const char* what) {
  static char found[512];
  const char* value = NULL;
  blkid_probe probe = blkid_new_probe_from_filename(device);
  if (!probe) return NULL;
  blkid_probe_enable_superblocks(probe, 1);
  blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_UUID | BLKID_SUBLKS_LABEL | BLKID_SUBLKS_TYPE);
  blkid_probe_enable_partitions(probe, 1);
  blkid_probe_set_partitions_flags(probe, BLKID_PARTS_ENTRY_DETAILS);
  if (blkid_do_safeprobe(probe) == 0) blkid_probe_lookup_value(probe, what, &value, NULL);
  if (value) snprintf(found, sizeof found, "%s", value);
  blkid_free_probe(probe);
  return value ? found : NULL;
}

// The device on which `what` is `wanted`; digits of identifiers may be in either case. NULL when there is none.
static const char* device_with(const char* what, const char* wanted) {
  static char device[300];
  DIR* all = opendir("/sys/class/block");
  const char* found = NULL;
  for (struct dirent* entry; !found && all && (entry = readdir(all));) {
    if (*entry->d_name == '.') continue;
    snprintf(device, sizeof device, "/dev/%s", entry->d_name);
    const char* value = written_on(device, what);
    if (value && (strstr(what, "UUID") ? !strcasecmp(value, wanted) : !strcmp(value, wanted))) found = device;
  }
  if (all) closedir(all);
  return found;
}

// The path of the device that root= names, when it is there.
static const char* find_device(const char* root) {
  static const char* const kTags[][2] = {
      {"UUID=", "UUID"}, {"LABEL=", "LABEL"}, {"PARTUUID=", "PART_ENTRY_UUID"}, {"PARTLABEL=", "PART_ENTRY_NAME"}};
  static char numbered[64];
  unsigned major, minor;
  for (size_t i = 0; i < sizeof kTags / sizeof *kTags; i++) {
    size_t length = strlen(kTags[i][0]);
    if (!strncmp(root, kTags[i][0], length)) return device_with(kTags[i][1], root + length);
  }
  if (sscanf(root, "%u:%u", &major, &minor) == 2) {
    snprintf(numbered, sizeof numbered, "/sys/dev/block/%u:%u", major, minor);
    if (access(numbered, F_OK)) return NULL;
    snprintf(numbered, sizeof numbered, "/dev/block-%u-%u", major, minor);
    if (mknod(numbered, S_IFBLK | 0600, makedev(major, minor)) && errno != EEXIST) return NULL;
    return numbered;
  }
  return access(root, F_OK) ? NULL : root;
}

enum { kRootPatience = 5 };  // seconds

static time_t seconds_up(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec;
}

static void mount_root(void) {
  const char *root = option("root", NULL), *type = option("rootfstype", NULL), *data = option("rootflags", NULL);
  unsigned long flags = has_word("rw") ? 0 : MS_RDONLY;
  if (!root) no_root("", "nothing says what the root file system is");
  int is_device = !type || strcmp(type, "virtiofs");
  const char* device = is_device ? NULL : root;
  // One may come up a while after its driver, and what is written on it is looked for again and again, which takes time
  // of its own.
  for (time_t began = seconds_up(); !device && !(device = find_device(root));) {
    if (seconds_up() - began > kRootPatience) no_root(root, "there is no such device");
    usleep(10000);
  }
  const char* known = type ? type : is_device ? written_on(device, "TYPE") : NULL;
  if (known && !mount(device, "/root", known, flags, data)) return;
  if (type) no_root(root, strerror(errno));
  // What the kernel knows by another name, or libblkid does not know, is tried one by one.
  mount_as_any(device, flags, data);
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

static char start_directory[4096];
static int start_as_it_is = -1;  // in the root, before anything is mounted over it

// What is in the root is meant, wherever symbolic links in the path point to.
static void open_start_directory(void) {
  int file = open("/command", O_RDONLY | O_CLOEXEC), root = open("/root", O_PATH | O_CLOEXEC);
  ssize_t got = file < 0 ? -1 : read(file, start_directory, sizeof start_directory - 1);
  start_directory[got < 0 ? 0 : got] = 0;
  struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};
  if (got > 0 && root >= 0) start_as_it_is = syscall(SYS_openat2, root, start_directory, &how, sizeof how);
  close(file);
  close(root);
}

static int is_in_sight(void) {
  struct stat wanted, found;
  return fstat(start_as_it_is, &wanted) == 0 && stat(start_directory, &found) == 0 && wanted.st_dev == found.st_dev &&
         wanted.st_ino == found.st_ino;
}

static void make_directories(const char* path) {
  char folder[sizeof start_directory];
  snprintf(folder, sizeof folder, "%s", path);
  for (char* at = folder + 1; (at = strchr(at, '/')); *at++ = '/') {
    *at = 0;
    mkdir(folder, 0755);
  }
  mkdir(folder, 0755);
}

// A view of `source`, a directory, at `target`, which keeps what is written there in memory. Its two folders are on the
// tmpfs that it covers.
static int mount_throwaway_view(const char* source, const char* target) {
  char upper[8192], work[8192], options[32768];
  snprintf(upper, sizeof upper, "%s/upper", target);
  snprintf(work, sizeof work, "%s/work", target);
  snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", source, upper, work);
  if (mount("start", target, "tmpfs", 0, "mode=755")) return -1;
  if (!mkdir(upper, 0755) && !mkdir(work, 0755) && !mount("start", target, "overlay", 0, options)) return 0;
  umount2(target, MNT_DETACH);
  return -1;
}

// Brings the directory where the command starts back into sight.
static void show_start_directory(void) {
  static char note[5000];
  char source[64];
  if (start_as_it_is < 0 || is_in_sight()) return;
  make_directories(start_directory);
  snprintf(source, sizeof source, "/proc/self/fd/%d", start_as_it_is);
  if (!mount_throwaway_view(source, start_directory)) return;
  if (mount(source, start_directory, NULL, MS_BIND | MS_REC, NULL)) return;
  snprintf(note, sizeof note,
           "vmm: %s cannot be written in the guest: its kernel has no overlay file system\n"
           "  fix: a kernel with CONFIG_OVERLAY_FS, or --cwd DIR\n",
           start_directory);
  tell_user(note);
}

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
  show_start_directory();
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
  if (for_command) open_start_directory();
  enter_root();
  if (for_command) run_command();
  become_init(argv, env);
}
