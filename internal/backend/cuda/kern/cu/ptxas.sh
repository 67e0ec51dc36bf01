#!/usr/bin/env bash
# Assembles the PTX for each target that it ships for, with the ptxas of a CUDA
# toolkit, and prints what only that one knows. Fails for spills, for wgmma that
# is serialised, and for any other warning.
#
#   internal/backend/cuda/kern/cu/ptxas.sh [folder of the .ptx.gz files]
set -uo pipefail
dir=${1:-$(dirname "$0")/..}
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# target, and the architectures that load it: its own and newer ones
while read -r target archs; do
	gunzip -c "$dir/z$target.ptx.gz" >"$work/k.ptx" || exit 1
	for arch in $archs; do
		if ! ptxas -v -arch="$arch" "$work/k.ptx" -o "$work/k.cubin" >"$work/log" 2>&1; then
			echo "$target on $arch: FAILED"
			head -5 "$work/log"
			failed=1
			continue
		fi
		spills=$(grep -cE '[1-9][0-9]* bytes (spill|stack)' "$work/log")
		warnings=$(grep -ciE 'warning|serializ' "$work/log")
		most=$(grep -oE 'Used [0-9]+ registers' "$work/log" | grep -oE '[0-9]+' | sort -n | tail -1)
		echo "$target on $arch: $(grep -c 'Function properties' "$work/log") kernels, at most $most registers, $spills with spills or a stack, $warnings warnings"
		if [ "$spills$warnings" != 00 ]; then
			grep -iE 'warning|serializ|[1-9][0-9]* bytes (spill|stack)' "$work/log" | head -5
			failed=1
		fi
	done
done <<LIST
sm_80 sm_80 sm_86 sm_90 sm_121
sm_89 sm_89 sm_90 sm_120
sm_90a sm_90a
LIST
exit $failed
