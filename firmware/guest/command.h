// Running one command for the host: the guest's side of `vmm ... -- CMD`, and of tools/lab.
//
// A virtio-serial port leads to the host. Both sides speak in the frames of frames.h.
#pragma once

#include "firmware/guest/frames.h"

struct command_result {
  enum command_end how;
  int value;      // its exit status, its signal, or what a shell's status would be: 127 not found, 126 not executable
  char why[256];  // kNotStarted only
};

// Serves the host on `port`, a non-blocking descriptor, until the command it asks for has ended and its output is on
// its way. Ends the machine when the port breaks.
struct command_result serve_command(int port);
// A text for the command's standard error, before anything of its own: to be called before serve_command().
void tell_user(const char* text);
// The last frame. The host may end the machine as soon as it has it.
void report_result(const struct command_result* result);

// Prints what failed and why, and powers the machine off: an init must not return.
_Noreturn void die(const char* what);
