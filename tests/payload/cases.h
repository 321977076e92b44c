// The cases of the test payload, each chosen by case=NAME.
#pragma once

#include "virtio.h"

// How a machine ends: endings.c. Three of them need CPL 0 and are called by boot().
void triple_fault(void);
void unknown_instruction(void);
void halt(void);
void count_boots(void);
void power_off(void);
void panic(void);
void spin(void);
void compute(void);
void flood(void);

// What is typed: typed.c.
void echo(void);
void kgdb(void);

// Accesses that no driver makes: accesses.c.
void scan_ports(void);
void scan_memory(void);
void abuse_pci(void);
void abuse_clock(void);
void abuse_serial(void);
// QEMU's pc-testdev, as its users know it.
void use_testdev(void);

// Rings that no driver makes, and whether the device recovers: rings.c, disks.c.
void abuse_ring(void);
void abuse_transport(void);
void abuse_interrupts(void);
void abuse_disk(void);
void reset_while_busy(void);
// One honest request.
void good_entropy(struct virtio* rng, const char* after);
// Adds one to the number in sector 0 of the first disk.
uint32_t next_boot(void);
