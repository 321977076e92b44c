// Kallsyms: the kernel's own table of its symbols, read out of its memory. See scripts/kallsyms.c and
// kernel/kallsyms.c of Linux 6.0 and later, whose VMCOREINFO says where it is.
//
// Symbols are sorted by address, and addresses are 32-bit offsets: from a base, or, where VMCOREINFO names none, since
// Linux 7.0, each from its own place in the table. A name is a length and that many tokens, each of which stands for a
// short text; its first character is the symbol's type. Modules' symbols are not in it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/blackbox/address_space.h"
#include "vmm/blackbox/vmcoreinfo.h"

namespace vmm {

class Kallsyms {
 public:
  struct Symbol {
    std::string name;  // printable
    uint64_t address = 0;
    bool is_code = false;
  };

  // An empty table, with a reason, when it is not there or not understood.
  static Kallsyms read(const AddressSpace& kernel, const VmcoreInfo& info);

  const std::string& trouble() const { return trouble_; }
  // The symbol that an address of the kernel's image lies in.
  std::optional<Symbol> find(uint64_t address) const;
  // Whether that one is code. It costs less than its name.
  bool is_code(uint64_t address) const;
  std::optional<uint64_t> address_of(std::string_view name) const;

 private:
  struct Token {  // its text, in token_table_
    size_t start = 0;
    size_t length = 0;
  };

  bool read_addresses(const AddressSpace& kernel, const VmcoreInfo& info);
  bool read_names(const AddressSpace& kernel, const VmcoreInfo& info);
  bool read_tokens(const AddressSpace& kernel, uint64_t table, uint64_t index);
  // The symbol, by number, that an address lies in.
  std::optional<size_t> index_of(uint64_t address) const;
  char type_of(size_t symbol) const;
  // The tokens of a symbol's name, and the text of one: empty where there is none, which no name has.
  std::string_view tokens(size_t symbol) const;
  std::string_view token_text(char token) const;
  bool has_name(size_t symbol, std::string_view name) const;

  std::string trouble_;
  uint64_t start_ = 0;               // of the kernel's image
  std::vector<uint64_t> addresses_;  // by symbol
  std::vector<uint32_t> places_;     // by symbol, in names_
  std::string names_;
  std::string token_table_;
  std::vector<Token> tokens_;
};

}  // namespace vmm
