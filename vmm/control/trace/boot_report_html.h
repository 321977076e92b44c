// A trace as a page to look at: phases and exits on one axis of time, and what the exits were for, as bars.
//
// The page is one file without scripts or anything from elsewhere; every figure that is drawn is there as text too (in
// data- attributes, to be compared with the JSON, and in tool tips).
#pragma once

#include <string>
#include <string_view>

#include "vmm/control/trace/run_trace.h"

namespace vmm {

std::string report_html(const RunTrace& trace);

// Text as HTML, also between quotes.
std::string html_text(std::string_view text);

}  // namespace vmm
