// The manual page and the completions; see help_formats.h.
#include "vmm/control/cli/help_formats.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "vmm/control/cli/help.h"
#include "vmm/control/cli/run_flags.h"
#include "vmm/control/matrix/matrix_command.h"
#include "vmm/control/socket/control_client.h"
#include "vmm/core/error.h"

namespace vmm {

namespace {

constexpr std::array<std::string_view, 7> kPlainVerbs{"run",    "test",        "debug", "inspect",
                                                      "doctor", "boot-report", "help"};
// The names of machines with a --name, as `vmm list` prints them.
constexpr std::string_view kNames = "vmm list 2>/dev/null | awk '$3 == \"pid\" { print $1 }'";

std::string_view take_line(std::string_view& text) {
  const std::string_view line = text.substr(0, text.find('\n'));
  text.remove_prefix(std::min(text.size(), line.size() + 1));
  return line;
}

// roff reads a backslash, a dash, and at the front of a line a dot or an apostrophe, as its own.
std::string roff_line(std::string_view line) {
  std::string out = line.starts_with('.') || line.starts_with('\'') ? "\\&" : "";
  for (const char c : line) {
    if (c == '\\') {
      out += "\\e";
    } else {
      if (c == '-') out += '\\';
      out += c;
    }
  }
  return out + "\n";
}

// As it stands, in the columns that it has.
std::string example(std::string_view text) {
  std::string out = ".EX\n";
  while (!text.empty()) out += roff_line(take_line(text));
  return out + ".EE\n";
}

// The help is a line that says what vmm is, calls of it, and then sections: each has a title that begins its line.
std::string manual(std::string_view version) {
  const std::string help = help_text();
  std::string_view text = help;
  const std::string_view first = take_line(text);
  std::string page = fmt::format(".TH VMM 1 \"\" \"vmm {}\" \"User Commands\"\n.SH NAME\nvmm \\- {}\n.SH SYNOPSIS\n",
                                 version, first.substr(first.find(' ') + 1));
  std::string body;
  bool in_options = false;
  const auto end_section = [&] {
    if (!body.empty()) page += example(body);
    body.clear();
  };
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    if (line.empty()) continue;
    if (line.starts_with(' ')) {
      body.append(line).append("\n");
      continue;
    }
    end_section();
    if (line.starts_with("Exit status: ")) {
      page += ".SH EXIT STATUS\n" + roff_line(line.substr(line.find(' ', 5) + 1));
      continue;
    }
    if (!std::exchange(in_options, true)) page += ".SH OPTIONS\n";
    page += ".SS " + roff_line(line);
  }
  end_section();
  page += ".SH RUNNING TESTS\n" + example(test_help_text());
  return page;
}

std::vector<std::string_view> verbs() {
  std::vector<std::string_view> all(kPlainVerbs.begin(), kPlainVerbs.end());
  all.insert(all.end(), control_verbs().begin(), control_verbs().end());
  return all;
}

// "list" alone takes no machine.
std::vector<std::string_view> verbs_of_machines() {
  std::vector<std::string_view> some(control_verbs().begin(), control_verbs().end());
  std::erase(some, "list");
  return some;
}

std::string bash() {
  std::string flags = "--help --version", cases, files;
  for (const auto& [name, takes_value] : run_flags()) {
    flags += " --" + name;
    if (!takes_value) continue;
    const std::string choices = choices_of("--" + name);
    if (choices.empty()) {
      files += fmt::format("{}--{}", files.empty() ? "" : "|", name);
    } else {
      cases +=
          fmt::format("    --{}) COMPREPLY=($(compgen -W '{}' -- \"$word\")); return ;;\n", name, choices.substr(1));
    }
  }
  return fmt::format(R"(# bash completion for vmm, made by: vmm help --format=bash
_vmm() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} verb=${{COMP_WORDS[1]}} words
  COMPREPLY=()
  case $before in
{cases}    {files}) COMPREPLY=($(compgen -f -- "$word")); return ;;
  esac
  case $verb in
    {machines}) words=$({names}) ;;
    *) words='{flags}' ;;
  esac
  if [ "$COMP_CWORD" = 1 ]; then words='{verbs} {flags}'; fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  if [ "${{#COMPREPLY[@]}}" = 0 ]; then COMPREPLY=($(compgen -f -- "$word")); fi
}}
complete -o filenames -F _vmm vmm
)",
                     fmt::arg("cases", cases), fmt::arg("files", files), fmt::arg("names", kNames),
                     fmt::arg("machines", fmt::join(verbs_of_machines(), "|")), fmt::arg("flags", flags),
                     fmt::arg("verbs", fmt::join(verbs(), " ")));
}

std::string zsh() {
  std::string flags;
  for (const auto& [name, takes_value] : run_flags()) {
    const std::string choices = choices_of("--" + name);
    const std::string what = choices.empty() ? "_files" : fmt::format("({})", choices.substr(1));
    flags += fmt::format("  '*--{}{}'\n", name, takes_value ? ":value:" + what : "");
  }
  return fmt::format(R"(#compdef vmm
# zsh completion for vmm, made by: vmm help --format=zsh
local -a flags verbs
flags=(
  '--help' '--version'
{flags})
verbs=({verbs})
if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
  compadd -a verbs
  _files
elif [[ $words[2] == ({machines}) ]]; then
  compadd -- $({names})
  _files
else
  _arguments $flags '*:file:_files'
fi
)",
                     fmt::arg("flags", flags), fmt::arg("verbs", fmt::join(verbs(), " ")),
                     fmt::arg("machines", fmt::join(verbs_of_machines(), "|")), fmt::arg("names", kNames));
}

std::string fish() {
  std::string text = fmt::format(R"fish(# fish completion for vmm, made by: vmm help --format=fish
complete -c vmm -n __fish_use_subcommand -a '{}'
complete -c vmm -n '__fish_seen_subcommand_from {}' -a "({})"
complete -c vmm -l help
complete -c vmm -l version
)fish",
                                 fmt::join(verbs(), " "), fmt::join(verbs_of_machines(), " "),
                                 "vmm list 2>/dev/null | awk '\\$3 == \\\"pid\\\" { print \\$1 }'");
  for (const auto& [name, takes_value] : run_flags()) {
    const std::string choices = choices_of("--" + name);
    text += fmt::format("complete -c vmm -l {}", name);
    if (!choices.empty()) {
      text += fmt::format(" -x -a '{}'", choices.substr(1));
    } else if (takes_value) {
      text += " -r";
    }
    text += '\n';
  }
  return text;
}

}  // namespace

std::string choices_of(std::string_view flag) {
  const std::string help = help_text();
  const std::string wanted = fmt::format("{} ", flag);
  const size_t at = help.find(wanted);
  if (at == std::string::npos) return {};
  const std::string_view rest = std::string_view(help).substr(at + wanted.size());
  std::string_view values = rest.substr(0, rest.find_first_of(" ;,[)\n"));
  if (values.find('|') == std::string_view::npos) return {};
  std::string choices;
  while (!values.empty()) {
    const std::string_view value = values.substr(0, values.find('|'));
    // What has capitals stands for something else: "--initrd F|auto|none".
    const bool is_word = value.find_first_not_of("abcdefghijklmnopqrstuvwxyz_") == std::string_view::npos;
    if (is_word) choices.append(" ").append(value);
    values.remove_prefix(std::min(values.size(), value.size() + 1));
  }
  return choices;
}

std::string formatted_help(std::string_view format, std::string_view version) {
  if (format == "man") return manual(version);
  if (format == "bash") return bash();
  if (format == "zsh") return zsh();
  if (format == "fish") return fish();
  throw Error(fmt::format("help --format: there is no '{}'", format), "--format=man, bash, zsh or fish");
}

}  // namespace vmm
