// `vmm pause NAME` and the like: asks a running machine over its control socket, and prints the answer. `why` and
// `dmesg` ask the vmcore of a dead one as well.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vmm {

struct ControlRequest {
  std::string verb;              // "list", or one of control_verbs.h, "stats" being "status"
  std::string name;              // of the machine, or the path of its socket, or of a vmcore; empty for list
  std::string key;               // of sysrq
  std::string file;              // of dump
  std::optional<uint64_t> size;  // of balloon, in bytes; none: it stays as it is
  bool hint = false;             // of balloon: the guest is asked what is free
  std::string console;           // of console and break: which one; empty: the machine's choice
  std::string escape = "^A";     // of console
};

// The verbs that are for running machines.
std::span<const std::string_view> control_verbs();
bool is_control_verb(const std::string& verb);
// From what was typed behind the verb. Throws Error.
ControlRequest parse_control_request(const std::string& verb, const std::vector<std::string>& arguments);

// What is to be printed; "console" is visit_console()'s (console_client.h). Throws Error when there is no such machine,
// or it does not do it.
std::string ask(const ControlRequest& request);

}  // namespace vmm
