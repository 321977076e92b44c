// The frames in which the host and the guest's side of a command talk (command.h): for vmm, tools/lab, which reads the
// letters out of this file, and the program in the guest, in C.
//
// One byte kind, four bytes length (little endian), payload. With a terminal the command gets a pty of its own as
// controlling terminal, else three pipes.
#pragma once

// NOLINTBEGIN(readability-identifier-naming): tags as C has them

enum frame_to_guest {
  kStartFrame = 'S',   // u16 rows, u16 columns, u8 streams, u32 argc, then NUL-ended cwd, arguments, environment
  kInputFrame = 'I',   // bytes for the command; none = end of file
  kWindowFrame = 'W',  // u16 rows, u16 columns
  kKillFrame = 'K',    // u8 signal, for the command's whole process group
  kCloseFrame = 'C',   // u8 standard error?: that stream has no reader any more, of which its writers are to hear
};

// Bits of the start frame's streams.
enum frame_streams {
  kTerminal = 1,     // a pty in place of the pipes
  kErrorsApart = 2,  // but for standard error, which stays a pipe
};

enum frame_from_guest {
  kRunningFrame = 'R',
  kOutputFrame = 'O',  // bytes of standard output
  kErrorFrame = 'E',   // bytes of standard error
  kTakenFrame = 'A',   // u32 number of input bytes the command took: the host keeps at most 256 KiB under way, so a
                       // command that does not read never blocks the port for signals
  kBeatFrame = 'B',    // every few seconds: a guest that is silent for long has hung
  kExitFrame = 'X',    // u8 how (enum command_end), u8 status or signal, then why it did not start; the last frame
};

enum command_end { kExited = 0, kSignalled = 1, kNotStarted = 2 };

// NOLINTEND(readability-identifier-naming)
