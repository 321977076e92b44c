// Frames in, frames out, and one child process between them; see command.h.
#define _GNU_SOURCE
#include "firmware/guest/command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kBeat = 5 };  // seconds
enum { kChunk = 32 * 1024, kOutputMax = 256 * 1024, kFrameMax = 8 * 1024 * 1024 };

// panic=-1 would do as well, with a less useful text.
void die(const char* what) {
  fprintf(stderr, "init: %s: %s\n", what, strerror(errno));
  sync();
  reboot(RB_POWER_OFF);
  for (;;) pause();
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
      if (errno != EAGAIN) die("the port to the host");
      return;
    }
    to_host.begin += n;
  }
}

// ------------------------------------------------------------------------------------------------ command

static pid_t command;
static struct command_result result;
static int ended;
static int terminal;                     // is there a pty?
static int errors_apart;                 // and a pipe beside it for standard error?
static int in = -1, out = -1, err = -1;  // our ends; with a pty, in and out are the same
static int input_ended;

static void set_window(int fd, const uint8_t* sizes) {
  struct winsize size = {.ws_row = sizes[0] | sizes[1] << 8, .ws_col = sizes[2] | sizes[3] << 8};
  if (size.ws_row) ioctl(fd, TIOCSWINSZ, &size);
}

static void make_streams(int theirs[3], const uint8_t* window) {
  if (terminal) {
    if (openpty(&in, &theirs[0], NULL, NULL, NULL)) die("openpty");
    theirs[1] = theirs[2] = theirs[0];
    out = in;
    set_window(in, window);
  }
  int* ours[3] = {&in, &out, &err};
  for (int i = terminal ? errors_apart ? 2 : 3 : 0; i < 3; i++) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC)) die("pipe");
    theirs[i] = ends[i == 0 ? 0 : 1];
    *ours[i] = ends[i == 0 ? 1 : 0];
  }
  fcntl(in, F_SETFL, O_NONBLOCK);
  fcntl(out, F_SETFL, O_NONBLOCK);
  if (err >= 0) fcntl(err, F_SETFL, O_NONBLOCK);
}

// What went wrong before the command's first instruction, told through a pipe that exec closes.
struct refusal {
  int error;
  int in_directory;
};

static _Noreturn void become(const int theirs[3], int refused, const char* cwd, char** argv, char** env) {
  setsid();
  if (terminal) ioctl(theirs[0], TIOCSCTTY, 0);
  for (int i = 0; i < 3; i++) dup2(theirs[i], i);
  dup2(refused, 3);
  fcntl(3, F_SETFD, FD_CLOEXEC);
  close_range(4, ~0u, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  signal(SIGPIPE, SIG_DFL);
  struct refusal refusal = {.in_directory = chdir(cwd) != 0};
  if (!refusal.in_directory) {
    environ = env;
    execvp(argv[0], argv);
  }
  refusal.error = errno;
  if (write(3, &refusal, sizeof refusal) < 0) _exit(126);
  _exit(127);
}

static void start(uint8_t* frame, size_t count) {
  if (command || count < 11 || frame[count - 1] != 0) return;
  uint32_t argc;
  memcpy(&argc, frame + 5, 4);
  if (argc == 0 || argc > count) return;
  char *at = (char*)frame + 9, *end = (char*)frame + count;
  char* cwd = at;
  char **argv = calloc(argc + 1, sizeof *argv), **env = calloc(count, sizeof *env);
  if (!argv || !env) die("memory");
  at += strlen(at) + 1;
  for (uint32_t i = 0; i < argc && at < end; i++, at += strlen(at) + 1) argv[i] = at;
  for (int i = 0; at < end; i++, at += strlen(at) + 1) env[i] = at;
  if (!argv[0]) return;

  int theirs[3], refused[2];
  terminal = frame[4] & kTerminal;
  errors_apart = frame[4] & kErrorsApart;
  make_streams(theirs, frame);
  if (pipe2(refused, O_CLOEXEC)) die("pipe");
  command = fork();
  if (command < 0) die("fork");
  if (command == 0) become(theirs, refused[1], cwd, argv, env);
  for (int i = 0; i < 3; i++) {
    if (i == 0 || theirs[i] != theirs[0]) close(theirs[i]);
  }
  close(refused[1]);
  struct refusal refusal;
  if (read(refused[0], &refusal, sizeof refusal) == sizeof refusal) {
    result.how = kNotStarted;
    result.value = refusal.error == ENOENT && !refusal.in_directory ? 127 : 126;
    snprintf(result.why, sizeof result.why, "cannot %s '%s' in the guest: %s", refusal.in_directory ? "enter" : "run",
             refusal.in_directory ? cwd : argv[0], strerror(refusal.error));
  }
  close(refused[0]);
  free(argv);
  free(env);
  send_frame(kRunningFrame, NULL, 0);
}

// The command's next write there is a SIGPIPE.
static void look_away(int* stream) {
  if (*stream >= 0) close(*stream);
  *stream = -1;
}

static void handle(uint8_t type, uint8_t* payload, uint32_t count) {
  switch (type) {
    case kStartFrame:
      return start(payload, count);
    case kWindowFrame:
      if (count >= 4) set_window(in, payload);
      return;
    case kKillFrame:
      if (count >= 1 && command) kill(-command, payload[0]);
      return;
    case kCloseFrame:
      // A terminal's output and input are one.
      if (count >= 1 && (!terminal || payload[0])) look_away(payload[0] ? &err : &out);
      return;
    case kInputFrame:
      input_ended |= count == 0;
      memcpy(reserve(&input, count), payload, count);
      input.end += count;
  }
}

static void receive(void) {
  for (;;) {
    ssize_t n = read(port, reserve(&from_host, kChunk), kChunk);
    if (n <= 0) break;  // nothing more, or nobody there: the host ends the machine itself
    from_host.end += n;
  }
  while (length(&from_host) >= 5) {
    uint8_t* frame = from_host.bytes + from_host.begin;
    uint32_t count;
    memcpy(&count, frame + 1, 4);
    if (count > kFrameMax) errno = EMSGSIZE, die("a frame from the host");
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
  if (taken) send_frame(kTakenFrame, &taken, sizeof taken);
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

static void reap(int children) {
  struct signalfd_siginfo info;
  while (read(children, &info, sizeof info) > 0) {
  }
  int how;
  for (pid_t pid; (pid = waitpid(-1, &how, WNOHANG)) > 0;) {
    if (pid != command) continue;
    ended = 1;
    if (result.how == kNotStarted) continue;
    result.how = WIFEXITED(how) ? kExited : kSignalled;
    result.value = WIFEXITED(how) ? WEXITSTATUS(how) : WTERMSIG(how);
  }
}

static void beat(void) {
  static time_t last;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (now.tv_sec - last < kBeat || length(&to_host)) return;
  send_frame(kBeatFrame, NULL, 0);
  last = now.tv_sec;
}

void tell_user(const char* text) { send_frame(kErrorFrame, text, strlen(text)); }

struct command_result serve_command(int descriptor) {
  port = descriptor;
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sigprocmask(SIG_BLOCK, &child, NULL);
  signal(SIGPIPE, SIG_IGN);
  int children = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
  send_frame(kBeatFrame, NULL, 0);  // the host waits for a sign of life: what it sent earlier would be lost

  while (!ended) {
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
    if (out >= 0 && !drain(out, kOutputFrame, 4)) {
      if (in == out) in = -1;
      close(out), out = -1;
    }
    if (err >= 0 && !drain(err, kErrorFrame, 4)) close(err), err = -1;
    beat();
    flush();
    if (polls[1].revents) reap(children);
  }

  // What the command left in its pipes still counts; what its orphans may write later does not.
  fcntl(port, F_SETFL, 0);
  for (size_t before = 1; before;) {
    before = 0;
    if (out >= 0) drain(out, kOutputFrame, 8);
    if (err >= 0) drain(err, kErrorFrame, 8);
    before = length(&to_host);
    flush();
  }
  return result;
}

void report_result(const struct command_result* last) {
  uint8_t payload[2 + sizeof last->why] = {last->how, last->value};
  size_t text = strlen(last->why);
  memcpy(payload + 2, last->why, text);
  send_frame(kExitFrame, payload, 2 + text);
  flush();
}
