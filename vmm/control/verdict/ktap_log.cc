// KTAP read line by line, by indentation, plan and result; see ktap_log.h.
#include "vmm/control/verdict/ktap_log.h"

#include <algorithm>

namespace vmm {

namespace {

// "[    1.234567] text", and with CONFIG_PRINTK_CALLER "[    1.234567][    T1] text". An indent stays.
std::string_view without_stamp(std::string_view line) {
  const auto stamp = [](std::string_view text) -> size_t {
    if (!text.starts_with('[')) return 0;
    const size_t end = text.find(']');
    constexpr std::string_view kInside = " .0123456789TC";
    if (end == std::string_view::npos || end < 2) return 0;
    return text.substr(1, end - 1).find_first_not_of(kInside) == std::string_view::npos ? end + 1 : 0;
  };
  size_t length = stamp(line);
  if (length == 0) return line;
  length += stamp(line.substr(length));
  line.remove_prefix(length);
  if (line.starts_with(' ')) line.remove_prefix(1);
  return line;
}

bool begins_document(std::string_view line) {
  return line.starts_with("KTAP version ") || line.starts_with("TAP version ");
}

}  // namespace

void KtapLog::line(std::string_view line) {
  line = without_stamp(line);
  if (begins_document(line)) {
    end_document();
    open_ = true;
    ++documents_;
  }
  if (!open_) return;
  document_.feed(line);
  document_.feed("\n");
  if (document_.complete()) end_document();
}

void KtapLog::end_document() {
  if (!open_) return;
  open_ = false;
  document_.finish();
  results_ += document_.results();
  failed_ += document_.failed();
  const auto take = [](auto& to, const auto& from, size_t most) {
    to.insert(to.end(), from.begin(),
              from.begin() + static_cast<std::ptrdiff_t>(std::min(from.size(), most - to.size())));
  };
  take(cases_, document_.cases(), TapParser::kMaxCases);
  take(problems_, document_.problems(), TapParser::kMaxProblems);
  document_.reset();
}

std::string KtapLog::verdict() const {
  return any() ? tap_verdict(results_, failed_, cases_, problems_) : "there is none in what the guest printed";
}

}  // namespace vmm
