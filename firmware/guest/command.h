// Running one command for the host: the guest's side of `vmm ... -- CMD`, and of tools/lab.
//
// A virtio-serial port leads to the host. Both sides speak in frames: one byte type, four bytes length (little endian),
// payload.
//   to us    S start   u16 rows, u16 columns, u8 terminal?, u32 argc, then NUL-ended cwd, arguments, environment
//            I input   bytes for the command; none = end of file
//            W window  u16 rows, u16 columns
//            K kill    u8 signal, for the command's whole process group
//            C close   u8 standard error?: that stream has no reader any more, so whoever writes to it is to hear of it
//   from us  R running
//            O, E      bytes of standard output, standard error
//            A taken   u32 number of input bytes the command took: the host keeps at most 256 KiB under way,
//                      so a command that does not read never blocks the port for signals
//            B beat    every few seconds: a guest that is silent for long has hung
//            X exit    u8 how (enum command_end), u8 status or signal, then a text that says why when it did not start;
//                      the last frame
// With a terminal the command gets a pty of its own as controlling terminal, else three pipes.
#pragma once

enum command_end { kExited = 0, kSignalled = 1, kNotStarted = 2 };

struct command_result {
  enum command_end how;
  int value;      // its exit status, its signal, or what a shell's status would be: 127 not found, 126 not executable
  char why[256];  // kNotStarted only
};

// Serves the host on `port`, a non-blocking descriptor, until the command it asks for has ended and its output is on
// its way. Ends the machine when the port breaks.
struct command_result serve_command(int port);
// The last frame. The host may end the machine as soon as it has it.
void report_result(const struct command_result* result);

// Prints what failed and why, and powers the machine off: an init must not return.
_Noreturn void die(const char* what);
