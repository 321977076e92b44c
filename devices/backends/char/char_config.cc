// Reading the text of a console flag; see char_config.h.
#include "devices/backends/char/char_config.h"

#include <fmt/core.h>

#include <charconv>

#include "vmm/core/error.h"

namespace vmm {

namespace {

constexpr const char* kFix =
    "use stdio|file=PATH|pty|unix=PATH|tcp=HOST:PORT|null, then optionally ,ts ,log=PATH and "
    "(serial lines) ,split-gdb=unix:PATH|tcp:HOST:PORT";

[[noreturn]] void refuse(std::string_view text, const std::string& why) {
  throw Error(fmt::format("cannot use console '{}': {}", text, why), kFix);
}

// Cuts `text` at the first `separator`: returns what is before it and leaves what is after it.
std::string_view cut(std::string_view& text, char separator) {
  const size_t at = text.find(separator);
  const std::string_view head = text.substr(0, at);
  text = at == std::string_view::npos ? std::string_view() : text.substr(at + 1);
  return head;
}

void parse_tcp(CharConfig& config, std::string_view value, std::string_view text) {
  const size_t colon = value.rfind(':');
  if (colon == std::string_view::npos) refuse(text, "tcp needs a port");
  std::string_view host = value.substr(0, colon);
  const std::string_view port = value.substr(colon + 1);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  uint16_t number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc() || end != port.data() + port.size()) refuse(text, fmt::format("'{}' is no port", port));
  config.host = host.empty() ? "127.0.0.1" : host;
  config.port = port;
}

void parse_kind(CharConfig& config, std::string_view part, std::string_view text) {
  const bool has_value = part.find('=') != std::string_view::npos;
  std::string_view value = part;
  const std::string_view kind = cut(value, '=');
  const auto is = [&](std::string_view name, CharConfig::Kind meaning, bool wants_value) {
    if (kind != name) return false;
    if (wants_value && value.empty()) refuse(text, fmt::format("{} needs a value", name));
    if (!wants_value && has_value) refuse(text, fmt::format("{} takes no value", name));
    config.kind = meaning;
    return true;
  };
  if (is("stdio", CharConfig::Kind::kStdio, false) || is("pty", CharConfig::Kind::kPty, false) ||
      is("null", CharConfig::Kind::kNull, false)) {
    return;
  }
  if (is("file", CharConfig::Kind::kFile, true) || is("unix", CharConfig::Kind::kUnix, true)) {
    config.path = value;
  } else if (is("tcp", CharConfig::Kind::kTcp, true)) {
    parse_tcp(config, value, text);
  } else {
    refuse(text, fmt::format("there is no kind '{}'", kind));
  }
}

}  // namespace

CharConfig CharConfig::parse(std::string_view text) {
  if (text.ends_with(',')) refuse(text, "an option is missing after the last comma");
  CharConfig config;
  std::string_view rest = text;
  parse_kind(config, cut(rest, ','), text);
  while (!rest.empty()) {
    const std::string_view option = cut(rest, ',');
    if (option == "ts") {
      config.timestamps = true;
    } else if (option.starts_with("log=") && option.size() > 4) {
      config.log_path = option.substr(4);
    } else if (option.starts_with("split-gdb=")) {
      config.split_gdb = option.substr(10);
      if (!config.split_gdb.starts_with("unix:") && !config.split_gdb.starts_with("tcp:")) {
        refuse(text, "split-gdb needs unix:PATH or tcp:HOST:PORT");
      }
      try {
        config.gdb_end();
      } catch (const Error& error) {
        refuse(text, fmt::format("split-gdb: {}", error.what()));
      }
    } else {
      refuse(text, fmt::format("there is no option '{}'", option));
    }
  }
  return config;
}

CharConfig CharConfig::gdb_end() const {
  std::string text = split_gdb;
  text[text.find(':')] = '=';
  return parse(text);
}

std::string CharConfig::describe() const {
  if (!split_gdb.empty()) {
    CharConfig rest = *this;
    rest.split_gdb.clear();
    return fmt::format("{}, for gdb {}", rest.describe(), split_gdb);
  }
  switch (kind) {
    case Kind::kStdio:
      return "stdio";
    case Kind::kFile:
      return "file " + path;
    case Kind::kPty:
      return "pty";
    case Kind::kUnix:
      return "socket " + path;
    case Kind::kTcp:
      return fmt::format("tcp {}:{}", host, port);
    case Kind::kNull:
      break;
  }
  return "nowhere";
}

}  // namespace vmm
