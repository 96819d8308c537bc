#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# First process of a Linux guest of the benches (bench/lib/linux.py makes the initramfs). Sets the
# swap up as the command line says, runs /jobs, says how each ended, and turns the machine off.
export PATH=/bin
swap=none
swap_kib=0
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for word in $(cat /proc/cmdline); do
    case $word in
    bench.swap=*) swap=${word#*=} ;;
    bench.swap_kib=*) swap_kib=${word#*=} ;;
    esac
done
while read -r module options; do
    insmod "/modules/$module" $options || echo "@error insmod $module"
done </modules/order
echo +memory >/sys/fs/cgroup/cgroup.subtree_control

# As one who swaps to memory would set it: no scheduler, not a rotating disk (which also makes
# read-ahead follow addresses of the program and not places on the device).
tune() {
    echo none >"/sys/block/$1/queue/scheduler" 2>/dev/null
    echo 0 >"/sys/block/$1/queue/rotational" 2>/dev/null
    echo 0 >"/sys/block/$1/queue/add_random" 2>/dev/null
}

swap_on() {
    tune "$1"
    mkswap "/dev/$1" $2 >/dev/null && swapon "/dev/$1" || echo "@error no swap on $1"
}

case $swap in
far) swap_on vda "$swap_kib" ;;
zram)
    echo $((swap_kib * 1024)) >/sys/block/zram0/disksize || echo "@error zram"
    swap_on zram0
    ;;
esac

# count NAME: a figure of /proc/vmstat
count() {
    sed -n "s/^$1 //p" /proc/vmstat
}

# job NAME BYTES PAGE_CLUSTER HUGE PROGRAM ARGUMENT...: BYTES is the most that it may have in
# memory; HUGE is always, madvise or never (Linux's own choice in guests as small as these).
job() {
    name=$1
    group=/sys/fs/cgroup/job
    mkdir -p $group
    echo "$2" >$group/memory.max
    echo "$3" >/proc/sys/vm/page-cluster
    echo "$4" >/sys/kernel/mm/transparent_hugepage/enabled
    shift 4
    in=$(count pswpin)
    out=$(count pswpout)
    major=$(count pgmajfault)
    echo "@begin $name"
    sh -c 'echo $$ >/sys/fs/cgroup/job/cgroup.procs; exec "$@"' job "$@"
    echo "@end $name status=$? peak=$(cat $group/memory.peak) pswpin=$(($(count pswpin) - in))" \
        "pswpout=$(($(count pswpout) - out)) pgmajfault=$(($(count pgmajfault) - major))"
    rmdir $group || echo "@error the group of $name is not empty"
}

echo "@kernel $(uname -r) lru_gen=$(cat /sys/kernel/mm/lru_gen/enabled)"
echo "@ready"
. /jobs
echo "@done"
poweroff -f
