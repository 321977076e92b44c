// What the text of a console flag means, and what is refused.
#include "devices/backends/char/char_config.h"

#include <catch2/catch.hpp>

#include "vmm/core/error.h"

using namespace vmm;

using Kind = CharConfig::Kind;

TEST_CASE("char config: each kind and option is understood", "[char]") {
  const auto [text, config] = GENERATE(table<const char*, CharConfig>({
      {"stdio", {.kind = Kind::kStdio}},
      {"pty", {.kind = Kind::kPty}},
      {"null", {.kind = Kind::kNull}},
      {"file=a.log", {.kind = Kind::kFile, .path = "a.log"}},
      {"file=a=b", {.kind = Kind::kFile, .path = "a=b"}},
      {"unix=/run/x", {.kind = Kind::kUnix, .path = "/run/x"}},
      {"tcp=host:80", {.kind = Kind::kTcp, .host = "host", .port = "80"}},
      {"tcp=:65535", {.kind = Kind::kTcp, .host = "127.0.0.1", .port = "65535"}},
      {"tcp=[::1]:23", {.kind = Kind::kTcp, .host = "::1", .port = "23"}},
      {"stdio,ts", {.kind = Kind::kStdio, .timestamps = true}},
      {"null,log=x", {.kind = Kind::kNull, .log_path = "x"}},
      {"stdio,split-gdb=unix:/g", {.kind = Kind::kStdio, .split_gdb = "unix:/g"}},
      {"pty,log=x,ts", {.kind = Kind::kPty, .timestamps = true, .log_path = "x"}},
  }));
  CHECK(CharConfig::parse(text) == config);
}

TEST_CASE("char config: what means nothing is refused with the text and a fix", "[char]") {
  const char* const text =
      GENERATE("", ",", "stdin", "stdio=1", "null=", "file", "file=", "unix=", "tcp=", "tcp=host",
               "tcp=host:", "tcp=host:http", "tcp=host:65536", "tcp=host:-1", "tcp=host:80x", "stdio,", "stdio,,ts",
               "stdio,t", "stdio,ts=1", "stdio,log", "stdio,log=", "stdio,split-gdb",
               "stdio,split-gdb=", "stdio,split-gdb=g", "stdio,split-gdb=unix:", "stdio,split-gdb=tcp:1", "pty,file=x");
  CHECK_THROWS_WITH(CharConfig::parse(text), Catch::StartsWith(std::string("cannot use console '") + text + "': "));
}

TEST_CASE("char config: the refusal shows what could be written instead", "[char]") {
  std::string fix;
  try {
    CharConfig::parse("telnet=x");
  } catch (const Error& error) {
    fix = error.fix();
  }
  CHECK_THAT(fix, Catch::Contains("unix=PATH"));
}

TEST_CASE("char config: gdb's end of a serial line is a socket", "[char]") {
  CHECK(CharConfig::parse("null,split-gdb=unix:/g").gdb_end() == CharConfig{.kind = Kind::kUnix, .path = "/g"});
  CHECK(CharConfig::parse("null,split-gdb=tcp::1234").gdb_end() ==
        CharConfig{.kind = Kind::kTcp, .host = "127.0.0.1", .port = "1234"});
  CHECK(CharConfig::parse("null,split-gdb=tcp::1234").describe() == "nowhere, for gdb tcp::1234");
}
