#!/bin/sh
# drain, resume: each program of drain.d does its part before this node leaves its image, each of resume.d where it stays.
# One that fails is a failure of the whole, and it is asked again.
for program in "/etc/cncp/${0##*/}.d"/*; do
    if [ -x "$program" ]; then "$program" || exit; fi
done
