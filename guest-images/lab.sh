# The machine that tools/lab boots: Debian's full kernel, which has KVM and 9p, and an initrd with nothing but
# tools/lab-agent.c as init and the modules it loads. On x86 the kernel is taken out of its bzImage: QEMU can enter it by
# PVH, which spares the emulated CPU the decompression (1 to 2 s).

build() {
  need cpio cpio; need depmod kmod
  fetch "$(resolve "$(of_guest "linux-image-$arch")")" package
  "prepare_$arch"
  mkdir -p initrd/dev initrd/root
  "${compiler[@]}" -std=gnu17 -O2 -Wall -Wextra -Wno-unused-result -static -s -I "$here/.." -o initrd/init \
    "$here/../tools/lab-agent.c" "$here/../firmware/guest/command.c"
  copy_modules package initrd order virtio_pci virtio_blk virtio_console ext4 9pnet_virtio 9p overlay \
    tun loop fuse "${modules[@]}"
  pack_initramfs initrd "$out/initrd.img"
}

prepare_amd64() {
  need cc gcc; need xz xz-utils
  compiler=(cc)
  modules=(kvm_amd msr)
  python3 - package/boot/vmlinuz-* "$out/vmlinux" <<'PY'
# The payload's place stands in the boot protocol's header (Documentation/arch/x86/boot.rst); it is one xz stream
# and four bytes of length.
import lzma, struct, sys
image = open(sys.argv[1], "rb").read()
setup = (image[0x1F1] + 1) * 512
offset, length = struct.unpack_from("<II", image, 0x248)
payload = image[setup + offset:setup + offset + length]
open(sys.argv[2], "wb").write(lzma.LZMADecompressor().decompress(payload))
PY
}

# KVM is built into the kernel, which is an Image as it is.
prepare_arm64() {
  need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
  compiler=(aarch64-linux-gnu-gcc)
  modules=()
  cp package/boot/vmlinuz-* "$out/vmlinux"
}
