// CHECK and UNREACHABLE: for faults of our own.
//
// A failed CHECK means that vmm itself is wrong. It prints where and aborts. It must never depend on what a guest, a
// file or a peer sent: guest misbehaviour is answered in the device's protocol, and a host that cannot do what the
// user asked is an Error (vmm/core/error.h).
#pragma once

namespace vmm {

[[noreturn]] void check_failed(const char* expression, const char* file, int line) noexcept;

}  // namespace vmm

#define CHECK(condition) ((condition) ? void() : ::vmm::check_failed(#condition, __FILE__, __LINE__))
#define UNREACHABLE() ::vmm::check_failed("unreachable", __FILE__, __LINE__)
