# A real Debian 12: everything of debian-kernel, and rootfs.img, a 2 GiB root disk (ext4 on the whole disk, sparse)
# with systemd and the tools one expects. Root logs in on the consoles without a password; /etc/issue says so.
# mmdebstrap makes the tree in a user namespace where it is not root.

packages=(
  systemd systemd-sysv udev dbus kmod util-linux login passwd procps less
  iproute2 iputils-ping curl openssh-server fio e2fsprogs
)

# Work that a guest of minutes does not need, and that a boot would wait for.
masked=(
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service
  fstrim.timer systemd-timesyncd.service systemd-networkd-wait-online.service systemd-pstore.service
  systemd-hwdb-update.service systemd-update-done.service ldconfig.service systemd-firstboot.service
  systemd-machine-id-commit.service systemd-update-utmp.service systemd-journal-catalog-update.service
)

# What is ours in the tree, as files in ./overlay.
fill_overlay() {
  mkdir -p overlay/etc/ssh/sshd_config.d overlay/etc/systemd/network overlay/etc/systemd/journald.conf.d overlay/etc/systemd/system.conf.d
  echo debian >overlay/etc/hostname
  printf '127.0.0.1 localhost debian\n::1 localhost debian\n' >overlay/etc/hosts
  echo 'LABEL=root / ext4 defaults 0 0' >overlay/etc/fstab
  # The name server of user-mode networks; write your own for others.
  echo 'nameserver 10.0.2.3' >overlay/etc/resolv.conf
  printf 'Debian GNU/Linux 12 \\n \\l\n\nThis guest is for trying things out: log in as root, no password. poweroff ends it.\n\n' \
    >overlay/etc/issue
  # As on the consoles: through a user network only this host gets here.
  printf 'PermitRootLogin yes\nPermitEmptyPasswords yes\n' >overlay/etc/ssh/sshd_config.d/guest.conf
  printf '[Match]\nName=en* eth*\n[Network]\nDHCP=yes\n[DHCPv4]\nUseDNS=no\n' >overlay/etc/systemd/network/ether.network
  printf '[Journal]\nStorage=volatile\n' >overlay/etc/systemd/journald.conf.d/volatile.conf
  printf '[Manager]\nDefaultTimeoutStopSec=10s\n' >overlay/etc/systemd/system.conf.d/stop.conf
}

build() {
  need mmdebstrap mmdebstrap
  source "$here/tiny.sh"
  source "$here/debian-kernel.sh"
  build_debian_kernel
  fill_overlay
  local include
  include=$(IFS=,; echo "${packages[*]}")
  say "debian: installing ${#packages[@]} packages into a new tree"
  mmdebstrap --quiet --variant=minbase --include="$include" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook="copy-in overlay/etc /" \
    --customize-hook="copy-in package/lib/modules /usr/lib" \
    --customize-hook="chroot \"\$1\" passwd -q -d root" \
    --customize-hook="chroot \"\$1\" systemctl -q enable systemd-networkd.service" \
    --customize-hook="chroot \"\$1\" systemctl -q disable ssh.service" \
    --customize-hook="chroot \"\$1\" systemctl -q enable ssh.socket" \
    --customize-hook="chroot \"\$1\" systemctl -q mask ${masked[*]}" \
    --customize-hook="chroot \"\$1\" systemd-machine-id-setup" \
    --customize-hook="chroot \"\$1\" dpkg-query -W >\"$out/packages.txt\"" \
    bookworm rootfs.tar
  # Ownership, device nodes and capabilities come out of the tar right only for root, or what takes itself for it.
  local fake=()
  [ "$(id -u)" = 0 ] || { need fakeroot fakeroot; fake=(fakeroot); }
  mkdir root
  "${fake[@]}" sh -c 'tar -xpf rootfs.tar --numeric-owner --xattrs --xattrs-include="*" -C root &&
    exec /sbin/mke2fs -q -F -t ext4 -L root -d root "$1" 2G' - "$out/rootfs.img"
}
