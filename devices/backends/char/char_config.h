// CharConfig: where a console goes, as the flag's text says it:
//
//   stdio | file=PATH | pty | unix=PATH | tcp=HOST:PORT | null   [,ts] [,log=PATH] [,split-gdb=END]
//
// unix and tcp listen; an empty HOST is 127.0.0.1, and an IPv6 one stands in brackets. `ts` puts the time since start
// in front of each line; `log` appends a copy of all output to a file. `split-gdb` gives gdb an end of its own where
// kgdb shares a serial line with the console (split_gdb.h): unix:PATH or tcp:HOST:PORT, as behind --gdb. A comma cannot
// be part of a path.
#pragma once

#include <string>
#include <string_view>

namespace vmm {

struct CharConfig {
  enum class Kind { kStdio, kFile, kPty, kUnix, kTcp, kNull };

  Kind kind = Kind::kStdio;
  std::string path;  // kFile and kUnix
  std::string host;  // kTcp
  std::string port;  // kTcp
  bool timestamps = false;
  std::string log_path;   // empty: no log
  std::string split_gdb;  // where gdb comes to; empty: there is no such end

  // Throws Error when the text means nothing.
  static CharConfig parse(std::string_view text);
  // The end that split_gdb names, which is kUnix or kTcp.
  CharConfig gdb_end() const;
  std::string describe() const;  // "file serial.log", "nowhere"
  bool operator==(const CharConfig&) const = default;
};

}  // namespace vmm
