#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Serves the sample backup sets of the repository through nbdkit, reads each
# restore point with nbdcopy, and compares its SHA-256 with the expected one in
# points.txt. The exit status is 0 if all agree. Nothing is left behind.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

plugin=bin/nbdkit-virtnb-plugin.so
samples=(03-chain 05-lz4-chunked 06-chain-1.9.15)

row() {
    printf '%-20s  %9s  %9s  %-16.16s  %-16.16s  %s\n' "$@"
}

# compare SET SOCKET reads every export of the server at SOCKET.
compare() {
    local set=$1 socket=$2
    local expected exports export uri size allocated sum want verdict status=0

    expected=$(awk -v param="set=$set" '$3 == param && $1 !~ /@latest$/ { print $1, $2 }' tests/points.txt)
    exports=$(nbdinfo --list "nbd+unix:///?socket=$socket" | sed -n 's/^export="\(.*\)":$/\1/p')

    row EXPORT SIZE ALLOCATED SHA-256 EXPECTED ''
    for export in $exports; do
        uri="nbd+unix:///$export?socket=$socket"
        size=$(nbdinfo --size "$uri")
        allocated=$(nbdinfo --map --totals "$uri" | awk '$3 == 0 { n = $1 } END { print n + 0 }')
        sum=$(nbdcopy "$uri" - | sha256sum | cut -d ' ' -f 1) || sum=unreadable
        want=$(awk -v export="$export" '$1 == export { print $2 }' <<<"$expected")
        verdict=ok
        if [ "$sum" != "$want" ]; then
            verdict=DIFFERENT
            status=1
        fi
        row "$export" "$size" "$allocated" "$sum" "${want:-not expected}" "$verdict"
    done
    if [ "$(wc -l <<<"$exports")" != "$(wc -l <<<"$expected")" ]; then
        echo "DIFFERENT: the exports should be $(cut -d ' ' -f 1 <<<"$expected" | xargs)"
        status=1
    fi
    return $status
}

# nbdkit runs this script with arguments when the server of a set is ready, and
# ends when it ends.
if [ $# -gt 0 ]; then
    compare "$@"
    exit
fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

failed=0
for set in "${samples[@]}"; do
    dir=tests/vectors/$set
    printf '\n$ bin/virtnb list %s\n\n' "$dir"
    bin/virtnb list "$dir"
    printf '\n$ nbdkit %s %s\n\n' "$plugin" "$dir"
    nbdkit -U "$tmp/$set" "$plugin" "$dir" --run "exec tests/demo.sh $set \"\$unixsocket\"" || failed=1
done

echo
if [ $failed != 0 ]; then
    echo 'Something differs from what it should be: see above.'
    exit 1
fi
echo 'Every restore point is what it should be. (The table shows the beginning of each SHA-256; the whole was compared.)'
