# shellcheck shell=dash
# What the first program of each initramfs begins with: the kernel's own file systems, and its modules for the machine.

export PATH=/bin:/sbin:/usr/bin:/usr/sbin

# Have the kernel tell of the machine, and the console of nothing but faults.
mount_kernel() {
    mount -t proc proc /proc
    mount -t sysfs sys /sys
    mount -t devtmpfs dev /dev
    echo 3 > /proc/sys/kernel/printk
}

# Have the kernel's modules for the machine's parts be there; some show others, such as disks behind a controller.
load_modules() {
    for _ in 1 2 3; do
        find /sys/devices -name modalias -exec cat {} + 2> /dev/null | sort -u | xargs modprobe -a -q 2> /dev/null
    done
    xargs modprobe -a -q < /etc/cncp/modules
}
