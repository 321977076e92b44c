// <linux/kvm.h>, made right for C++, in one place for everybody.
//
// Its structures that end in an array put an empty structure before it. That has no size in C, but one byte in C++, so
// sizes, ioctl numbers and the arrays' places would be wrong. Here the array alone stands for both.
#pragma once

#include <linux/stddef.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#undef __DECLARE_FLEX_ARRAY
#define __DECLARE_FLEX_ARRAY(TYPE, NAME) TYPE NAME[0]  // NOLINT(bugprone-reserved-identifier): it is the kernel's
#include <linux/kvm.h>
#pragma GCC diagnostic pop

static_assert(sizeof(kvm_irq_routing) == 8 && sizeof(kvm_reg_list) == 8);
