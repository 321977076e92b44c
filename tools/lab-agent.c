// The lab's init, and the far end of tools/lab. It is the only program in the lab's initrd: it loads the
// modules, puts a throw-away overlay (on the scratch disk) over the host's root (9p, read-only), moves into it,
// and then runs one command for tools/lab, to which a virtio-serial port leads.
//
// Both sides speak in frames: one byte type, four bytes length (little endian), payload.
//   to us    S start   u16 rows, u16 columns, u8 terminal?, u32 argc, then NUL-ended cwd, arguments, environment
//            I input   bytes for the command; none = end of file
//            W window  u16 rows, u16 columns
//            K kill    u8 signal, for the command's whole process group
//   from us  R running
//            O, E      bytes of standard output, standard error
//            A taken   u32 number of input bytes the command took: tools/lab keeps at most 256 KiB under way,
//                      so a command that does not read never blocks the port for signals
//            B beat    every few seconds: a lab that is silent for long has hung
//            X exit    u8 status, the last frame
// With a terminal the command gets a pty of its own as controlling terminal, else three pipes.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <net/if.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kBeat = 5 };  // seconds
enum { kChunk = 32 * 1024, kInputWindow = 256 * 1024, kOutputMax = 256 * 1024, kFrameMax = 8 * 1024 * 1024 };

// init must not return: the kernel would panic with a less useful text. panic=-1 would do as well.
static void die(const char* what) {
  fprintf(stderr, "lab-agent: %s: %s\n", what, strerror(errno));
  sync();
  reboot(RB_POWER_OFF);
  for (;;) pause();
}

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

// ------------------------------------------------------------------------------------------------- frames

struct buffer {
  uint8_t* bytes;
  size_t begin, end, size;
};

static uint8_t* reserve(struct buffer* b, size_t count) {
  if (b->begin == b->end) b->begin = b->end = 0;
  if (b->end + count > b->size) {
    memmove(b->bytes, b->bytes + b->begin, b->end - b->begin);
    b->end -= b->begin, b->begin = 0;
    if (b->end + count > b->size && !(b->bytes = realloc(b->bytes, b->size = b->end + count))) die("memory");
  }
  return b->bytes + b->end;
}

static size_t length(const struct buffer* b) { return b->end - b->begin; }

static int port;
static struct buffer from_host, to_host, input;

static void send_frame(char type, const void* payload, uint32_t count) {
  uint8_t* at = reserve(&to_host, 5 + count);
  at[0] = type;
  memcpy(at + 1, &count, 4);
  memcpy(at + 5, payload, count);
  to_host.end += 5 + count;
}

static void flush(void) {
  while (length(&to_host)) {
    ssize_t n = write(port, to_host.bytes + to_host.begin, length(&to_host) < kChunk ? length(&to_host) : kChunk);
    if (n <= 0) {
      if (errno != EAGAIN) die("the port to tools/lab");
      return;
    }
    to_host.begin += n;
  }
}

// ------------------------------------------------------------------------------------------------ command

static pid_t command;
static int terminal;                     // is there a pty?
static int in = -1, out = -1, err = -1;  // our ends; with a pty, in and out are the same
static int input_ended;

static void set_window(int fd, const uint8_t* sizes) {
  struct winsize size = {.ws_row = sizes[0] | sizes[1] << 8, .ws_col = sizes[2] | sizes[3] << 8};
  if (size.ws_row) ioctl(fd, TIOCSWINSZ, &size);
}

static void start(uint8_t* frame, size_t count) {
  uint32_t argc;
  memcpy(&argc, frame + 5, 4);
  char *at = (char*)frame + 9, *end = (char*)frame + count;
  char* cwd = at;
  char **argv = calloc(argc + 1, sizeof *argv), **env = calloc(count, sizeof *env);
  for (uint32_t i = 0; i < argc; i++) argv[i] = at += strlen(at) + 1;
  for (int i = 0; (at += strlen(at) + 1) < end; i++) env[i] = at;

  int theirs[3];
  terminal = frame[4];
  if (terminal) {
    if (openpty(&in, &theirs[0], NULL, NULL, NULL)) die("openpty");
    theirs[1] = theirs[2] = theirs[0];
    out = in;
    set_window(in, frame);
  } else {
    int* ours[3] = {&in, &out, &err};
    for (int i = 0; i < 3; i++) {
      int ends[2];
      if (pipe2(ends, O_CLOEXEC)) die("pipe");
      theirs[i] = ends[i == 0 ? 0 : 1];
      *ours[i] = ends[i == 0 ? 1 : 0];
    }
  }
  fcntl(in, F_SETFL, O_NONBLOCK);
  fcntl(out, F_SETFL, O_NONBLOCK);
  if (err >= 0) fcntl(err, F_SETFL, O_NONBLOCK);

  command = fork();
  if (command < 0) die("fork");
  if (command == 0) {
    setsid();
    if (terminal) ioctl(theirs[0], TIOCSCTTY, 0);
    for (int i = 0; i < 3; i++) dup2(theirs[i], i);
    close_range(3, ~0u, 0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (chdir(cwd)) fprintf(stderr, "tools/lab: cannot enter %s: %s\n", cwd, strerror(errno));
    environ = env;
    execvp(argv[0], argv);
    fprintf(stderr, "tools/lab: cannot run '%s': %s\n", argv[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
  }
  for (int i = 0; i < (terminal ? 1 : 3); i++) close(theirs[i]);
  send_frame('R', NULL, 0);
}

static void handle(uint8_t type, uint8_t* payload, uint32_t count) {
  switch (type) {
    case 'S':
      return start(payload, count);
    case 'W':
      return set_window(in, payload);
    case 'K':
      kill(-command, payload[0]);
      return;
    case 'I':
      input_ended |= count == 0;
      memcpy(reserve(&input, count), payload, count);
      input.end += count;
  }
}

static void receive(void) {
  for (;;) {
    ssize_t n = read(port, reserve(&from_host, kChunk), kChunk);
    if (n <= 0) break;  // nothing more, or nobody there: tools/lab ends the machine itself
    from_host.end += n;
  }
  while (length(&from_host) >= 5) {
    uint8_t* frame = from_host.bytes + from_host.begin;
    uint32_t count;
    memcpy(&count, frame + 1, 4);
    if (count > kFrameMax) errno = EMSGSIZE, die("a frame from tools/lab");
    if (length(&from_host) < 5 + count) break;
    handle(frame[0], frame + 5, count);
    from_host.begin += 5 + count;
  }
}

static void feed(void) {
  uint32_t taken = 0;
  while (in >= 0 && length(&input)) {
    ssize_t n = write(in, input.bytes + input.begin, length(&input));
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) n = length(&input);  // nobody reads any more: swallow
    input.begin += n, taken += n;
  }
  if (taken) send_frame('A', &taken, sizeof taken);
  if (input_ended && !length(&input) && !terminal && in >= 0) close(in), in = -1;
}

// Passes on what the command wrote, up to `rounds` chunks; says whether there may be more some day.
static int drain(int fd, char type, int rounds) {
  static uint8_t chunk[kChunk];
  while (rounds-- && length(&to_host) < kOutputMax) {
    ssize_t n = read(fd, chunk, sizeof chunk);
    if (n < 0 && errno == EAGAIN) return 1;
    if (n <= 0) return 0;
    send_frame(type, chunk, n);
  }
  return 1;
}

static void serve(void) {
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sigprocmask(SIG_BLOCK, &child, NULL);
  signal(SIGPIPE, SIG_IGN);
  int children = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
  int status = -1;
  time_t beaten = 0;

  while (status < 0) {
    if (time(NULL) - beaten >= kBeat && !length(&to_host)) send_frame('B', NULL, 0), beaten = time(NULL);
    int room = length(&to_host) < kOutputMax;
    struct pollfd polls[] = {
        {.fd = port, .events = POLLIN | (length(&to_host) ? POLLOUT : 0)},
        {.fd = children, .events = POLLIN},
        {.fd = in != out && length(&input) ? in : -1, .events = POLLOUT},
        {.fd = room ? out : -1, .events = POLLIN | (in == out && length(&input) ? POLLOUT : 0)},
        {.fd = room ? err : -1, .events = POLLIN},
    };
    if (poll(polls, 5, kBeat * 1000) < 0 && errno != EINTR) die("poll");
    if (polls[0].revents & (POLLIN | POLLHUP)) receive();
    feed();
    // A pty reports an error once its last user is gone; the command's end is what counts, so just look away.
    if (out >= 0 && !drain(out, 'O', 4)) {
      if (in == out) in = -1;
      close(out), out = -1;
    }
    if (err >= 0 && !drain(err, 'E', 4)) close(err), err = -1;
    flush();
    if (polls[1].revents) {
      struct signalfd_siginfo info;
      while (read(children, &info, sizeof info) > 0) {
      }
      int how;
      for (pid_t pid; (pid = waitpid(-1, &how, WNOHANG)) > 0;)
        if (pid == command) status = WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
    }
  }

  // What the command left in its pipes still counts; what its orphans may write later does not.
  fcntl(port, F_SETFL, 0);
  for (size_t before = 1; before;) {
    before = 0;
    if (out >= 0) drain(out, 'O', 8);
    if (err >= 0) drain(err, 'E', 8);
    before = length(&to_host);
    flush();
  }
  uint8_t code = status;
  send_frame('X', &code, 1);
  flush();
}

// The only port there is; its number depends on how many virtio devices come before.
static void open_port(void) {
  glob_t found;
  for (int tries = 0; glob("/dev/vport*", 0, NULL, &found); tries++) {
    if (tries == 5000) die("no port to tools/lab");
    usleep(2000);
  }
  port = open(found.gl_pathv[0], O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (port < 0) die(found.gl_pathv[0]);
}

int main(void) {
  mount("dev", "/dev", "devtmpfs", 0, NULL);
  load_modules();
  make_root();
  struct rlimit files = {1024, 524288};
  setrlimit(RLIMIT_NOFILE, &files);
  open_port();
  serve();
  // tools/lab ends the machine when it has read the last frame; nothing in it is worth a clean shutdown.
  sleep(5);
  reboot(RB_POWER_OFF);
}
