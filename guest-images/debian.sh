# A real Debian 12: everything of debian-kernel, and rootfs.img, a 2 GiB root disk (ext4 on the whole disk, sparse)
# with systemd and the tools one expects. Root logs in on the consoles without a password; /etc/issue says so.
# mmdebstrap makes the tree in a user namespace where it is not root.

packages=(
  systemd systemd-sysv udev dbus kmod util-linux login passwd procps less
  iproute2 iputils-ping openssh-server e2fsprogs
)

# These bring half a hundred others along, too many for the emulated CPU that sets up another architecture's tree.
native_packages=(curl fio)

# What no one reads there.
excluded=(/usr/share/man /usr/share/doc /usr/share/locale)

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

# What is done in the tree when all is installed, by its own programs.
finish="passwd -q -d root
systemctl -q enable systemd-networkd.service ssh.socket
systemctl -q disable ssh.service
systemctl -q mask ${masked[*]}
: >/etc/machine-id"

# Each makes tree.tar, a Debian with those packages.
make_native_tree() {
  local options=() folder
  for folder in "${excluded[@]}"; do options+=("--dpkgopt=path-exclude=$folder/*"); done
  mmdebstrap --quiet --variant=minbase --include="${packages[*]} ${native_packages[*]}" "${options[@]}" \
    --customize-hook="chroot \"\$1\" sh -ec '$finish'" bookworm tree.tar
}

# The packages' scripts are programs of the guest's architecture. That the host can run those (with qemu-user and
# binfmt_misc) takes more rights than there may be; a lab always can. mmdebstrap unpacks what is essential and adds all
# of the packages; the links are those that the package usrmerge would take all of Perl along for.
declare -A labs=([arm64]=aarch64)
make_foreign_tree() {
  mmdebstrap --quiet --variant=extract --architectures="$arch" --skip=cleanup/apt/cache \
    --include=usr-is-merged --include='?essential' \
    --setup-hook='mkdir "$1/usr" "$1/usr/bin" "$1/usr/sbin" "$1/usr/lib" && ln -s usr/bin usr/sbin usr/lib "$1"' \
    --extract-hook="APT_CONFIG=\$MMDEBSTRAP_APT_CONFIG apt-get -qq --yes --download-only install \
      usr-is-merged '?essential' '?priority(required)' apt ${packages[*]}" \
    bookworm unpacked.tar
  "$here/../tools/lab" --arch "${labs[$arch]}" --time 1800 --silence 300 -- \
    "$PWD/busybox/bin/busybox" sh "$here/debian.second-stage" "$PWD/busybox/bin/busybox" "$PWD/unpacked.tar" \
    "${excluded[*]}" "$finish" >tree.tar
  rm unpacked.tar
}

build() {
  need mmdebstrap mmdebstrap
  source "$here/tiny.sh"
  source "$here/debian-kernel.sh"
  build_debian_kernel
  fill_overlay
  say "debian: installing ${#packages[@]} packages into a new tree"
  if [ "$arch" = "$native" ]; then make_native_tree; else make_foreign_tree; fi
  # Ownership, device nodes and capabilities come out of the tar right only for root, or what takes itself for it.
  local fake=()
  [ "$(id -u)" = 0 ] || { need fakeroot fakeroot; fake=(fakeroot); }
  mkdir root
  "${fake[@]}" sh -c 'tar -xpf tree.tar --numeric-owner --xattrs --xattrs-include="*" -C root &&
    cp -r overlay/etc root/ && cp -r package/lib/modules root/usr/lib/ &&
    exec /sbin/mke2fs -q -F -t ext4 -L root -d root "$1" 2G' - "$out/rootfs.img"
  dpkg-query --admindir="$PWD/root/var/lib/dpkg" -W >"$out/packages.txt"
}
