// The search through /proc; see lock_holder.h.
#include "devices/backends/disk/lock_holder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <vector>

namespace vmm {

namespace {

namespace fs = std::filesystem;

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Another process chose this text, and it goes to a terminal.
std::string printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

// The command line of a process in short: its name and what tells it from others.
std::string command_of(const fs::path& process) {
  constexpr size_t kMaxLength = 60;
  const std::string text = read_text(process / "cmdline");
  std::vector<std::string> words;
  for (auto begin = text.begin(); begin != text.end();) {
    const auto end = std::find(begin, text.end(), '\0');
    words.emplace_back(begin, end);
    begin = end == text.end() ? end : end + 1;
  }
  if (words.empty()) return "unknown";
  std::string command = fs::path(words[0]).filename();
  const auto name = std::find(words.begin(), words.end(), "--name");
  if (name != words.end() && name + 1 != words.end()) {
    command += " --name " + name[1];
  } else {
    for (size_t i = 1; i < words.size(); ++i) command += " " + words[i];
  }
  if (command.size() > kMaxLength) command = command.substr(0, kMaxLength - 3) + "...";
  return printable(command);
}

// Whether the process holds a lock through a descriptor of the file `wanted`, other than our own `fd`.
bool holds_lock(const fs::path& process, const struct stat& wanted, int own_fd) {
  const bool self = process.filename() == std::to_string(::getpid());
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(process / "fd", ignored)) {
    const std::string number = entry.path().filename();
    struct stat found {};
    if (::stat(entry.path().c_str(), &found) != 0 || found.st_dev != wanted.st_dev || found.st_ino != wanted.st_ino) {
      continue;
    }
    if (self && number == std::to_string(own_fd)) continue;
    if (read_text(process / "fdinfo" / number).find("\nlock:") != std::string::npos) return true;
  }
  return false;
}

}  // namespace

std::optional<LockHolder> find_lock_holder(int fd) {
  struct stat wanted {};
  if (::fstat(fd, &wanted) != 0) return std::nullopt;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/proc", ignored)) {
    const std::string name = entry.path().filename();
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error != std::errc() || end != name.data() + name.size()) continue;
    if (holds_lock(entry.path(), wanted, fd)) return LockHolder{pid, command_of(entry.path())};
  }
  return std::nullopt;
}

}  // namespace vmm
