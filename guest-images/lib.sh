# What every recipe uses. `guest-images/get` sources this file, then NAME.sh, and calls that file's
# `build` with the current directory being an empty work folder, $out the folder to fill, and $arch Debian's name for
# the guest's architecture.

say() { printf 'guest-images: %s\n' "$*" >&2; }

die() { # die WHAT-AND-WHY [FIX]
  printf 'guest-images/get: %s\n' "$1" >&2
  [ -z "${2:-}" ] || printf '  fix: %s\n' "$2" >&2
  exit 1
}

need() { # need COMMAND PACKAGE
  PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null || [ -x "/sbin/$1" ] ||
    die "the command '$1' is missing" "apt-get install $2 (tools/dev build does it)"
}

native=$(dpkg --print-architecture)

# A package of the guest's architecture as apt names it. Another than our own has to be known to apt first.
of_guest() { # of_guest PACKAGE
  if [ "$arch" = "$native" ]; then
    echo "$1"
    return
  fi
  dpkg --print-foreign-architectures | grep -qx "$arch" ||
    die "apt knows no packages for $arch" "dpkg --add-architecture $arch && apt-get update (tools/dev test does it)"
  echo "$1:$arch"
}

# The package that a meta package such as linux-image-cloud-amd64 stands for today.
resolve() {
  apt-cache depends "$1" | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -1
}

# Unpacks a Debian package into DIR. The version in $pins, one of the artifacts*.json, is taken while the mirror has it, and its
# hash is checked; after a point release it is gone, then the newest serves and says so. Either way
# $out/inputs.txt records what was used.
fetch() { # fetch PACKAGE DIR
  local package=$1 dir=$2 version hash pin_version='' pin_hash='' deb
  read -r pin_version pin_hash < <(python3 - "$here/$pins" "$package" <<'PY'
import json, sys
pin = json.load(open(sys.argv[1]))["packages"].get(sys.argv[2], {})
print(pin.get("version", ""), pin.get("sha256", ""))
PY
  ) || true
  mkdir -p debs "$dir"
  local apt=(apt-get -qq -o APT::Sandbox::User=root download)
  if [ -z "$pin_version" ] || ! (cd debs && "${apt[@]}" "$package=$pin_version" 2>/dev/null); then
    (cd debs && "${apt[@]}" "$package" >&2) ||
      die "cannot download the package $package" "run apt-get update, and see that the network is there"
  fi
  deb=$(ls -t debs/"${package%:*}"_*.deb | head -1)
  version=$(dpkg-deb -f "$deb" Version)
  hash=$(sha256sum "$deb" | cut -d' ' -f1)
  if [ "$version" = "$pin_version" ]; then
    [ "$hash" = "$pin_hash" ] || die "$package $version has sha256 $hash, $pins says $pin_hash"
  elif [ -n "$pin_version" ]; then
    say "$package: the mirror has $version now, $pins was written with $pin_version"
  fi
  printf '%s %s %s\n' "$package" "$version" "$hash" >>"$out/inputs.txt"
  dpkg-deb -x "$deb" "$dir"
  rm "$deb"
}

# A folder as a compressed initramfs, owned by root whoever builds it.
pack_initramfs() { # pack_initramfs DIR FILE
  (cd "$1" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 | gzip -1 -n) >"$2"
}

# Copies modules NAME... and what they depend on from an unpacked kernel package into DIR/modules; DIR/modules/ORDER
# lists them in the order to load. A name that is built in needs nothing; one that is nowhere is an error.
copy_modules() { # copy_modules PACKAGE_ROOT DIR ORDER NAME...
  local root=$1 dir=$2 order=$3 release file name
  shift 3
  release=$(ls "$root/lib/modules")
  [ -e "$root/lib/modules/$release/modules.dep.bin" ] || /sbin/depmod -b "$root" "$release"
  mkdir -p "$dir/modules"
  for name in "$@"; do
    /sbin/modprobe -C /dev/null -d "$root" -S "$release" --show-depends "$name"
  done >depends
  sed -n 's/^insmod \([^ ]*\).*/\1/p' depends | awk '!seen[$0]++' | while read -r file; do
    [ -e "$dir/modules/${file##*/}" ] || { cp "$file" "$dir/modules/"; echo "${file##*/}"; }
  done >"$dir/modules/$order"
}

# /bin with busybox under each of its names.
install_busybox() { # install_busybox DIR
  fetch "$(of_guest busybox-static)" busybox
  # Its list of names is asked of one that runs here.
  local lister=busybox
  [ "$arch" = "$native" ] || { fetch busybox-static lister; lister=lister; }
  mkdir -p "$1"/{bin,sbin,dev,proc,sys,run,tmp,root,etc,mnt}
  cp busybox/bin/busybox "$1/bin/busybox"
  local applet
  for applet in $("$lister/bin/busybox" --list); do
    [ "$applet" = busybox ] || ln -sf busybox "$1/bin/$applet"
  done
}

# A folder as a raw ext4 disk. Files belong to root on it: who is not root builds under fakeroot.
make_disk() { # make_disk DIR FILE SIZE
  local fake=()
  if [ "$(id -u)" != 0 ]; then
    need fakeroot fakeroot
    fake=(fakeroot)
  fi
  "${fake[@]}" sh -c 'chown -R 0:0 "$1" && exec /sbin/mke2fs -q -F -t ext4 -L root -d "$1" "$2" "$3"' - "$1" "$2" "$3"
}
