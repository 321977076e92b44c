# The small guest kernel: Debian's 6.1 source, tinyconfig plus kernel.config, everything built in.
# Leaves bzImage, vmlinux (with its PVH note, without debug information) and the config it was built with.

build() {
  need flex flex; need bison bison; need bc bc; need lz4 lz4; need gcc gcc; need make make
  fetch linux-source-6.1 source
  mkdir tree
  tar -xf source/usr/src/linux-source-6.1.tar.xz -C tree --strip-components=1
  rm -r source
  cd tree
  # A fixed build stamp makes two builds of one source the same file.
  export KBUILD_BUILD_TIMESTAMP='2023-06-10' KBUILD_BUILD_USER=vmm KBUILD_BUILD_HOST=guest-images
  cp "$here/kernel.config" kernel/configs/vmm.config
  make -s tinyconfig vmm.config >/dev/null 2>&1
  local line missing=0
  while read -r line; do
    grep -qxF -- "$line" .config || { say "kernel.config: '$line' did not take: what it depends on is off"; missing=1; }
  done < <(grep '^CONFIG' "$here/kernel.config")
  [ $missing = 0 ] || return 1
  say "kernel: building with $(nproc) jobs, a few minutes"
  make -s -j"$(nproc)" bzImage vmlinux >&2
  cp arch/x86/boot/bzImage "$out/bzImage"
  strip --strip-debug -o "$out/vmlinux" vmlinux
  cp .config "$out/config"
}
