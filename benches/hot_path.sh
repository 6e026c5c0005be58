#!/usr/bin/env bash
# The steady figures of the hot path: instructions and allocations per hit, bytes per link.
# Prints them and adds them, with the commit, to benches/results.md.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib/common.sh

usage() {
    cat <<'TEXT'
benches/hot_path.sh [options]

  --binary PATH    measure this binary instead of building one
  --references     measure the reference servers only
  --links A,B      numbers of links for bytes per link (1000000,5000000)
  --no-memory      leave out bytes per link
  --several        also measure a node on Cassandra with Redis beside it, which are started for it
  --dry            print only, keep nothing
  --work FOLDER    where links, stores and profiles go (target/bench)

Instructions and allocations do not depend on what else the machine does, but on processor
features (which memory routines are chosen) and on versions: compare lines of one table.
TEXT
}

target=${CARGO_TARGET_DIR:-target}
shunt=
references=
links=1000000,5000000
memory=yes
several=
results=benches/results.md
work=$target/bench
while [ $# -gt 0 ]; do
    case "$1" in
        --binary | --shunt) shunt=$2; shift 2 ;;
        --references) references=yes; shift ;;
        --links) links=$2; shift 2 ;;
        --no-memory) memory=; shift ;;
        --several) several=yes; shift ;;
        --dry) results=; shift ;;
        --work) work=$2; shift 2 ;;
        -h | --help) usage; exit ;;
        *) usage >&2; exit 2 ;;
    esac
done

ensure_packages cc=build-essential valgrind=valgrind
cargo build --release --quiet -p shunt-loadtest
if [ -z "$shunt" ] && [ -z "$references" ]; then
    cargo build --release --quiet --bin shunt
    shunt=$target/release/shunt
fi
loadtest=$target/release/shunt-loadtest

options=(--work "$work")
[ -z "$shunt" ] || options+=(--shunt "$(realpath "$shunt")")
if [ -n "$results" ]; then
    {
        printf '\n## %s\n\n' "$(git describe --always --dirty)"
        printf '%s, %s, %s\n\n' "$(date -u +%F)" "$(rustc --version)" \
            "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
    } >>"$results"
    options+=(--append "$results")
fi

database=()
if [ -n "$several" ]; then
    trap 'scripts/services down --folder "$work/services"' EXIT
    source <(scripts/services up --folder "$work/services")
    database=(--cql "$SHUNT_TEST_CQL" --redis "$SHUNT_TEST_REDIS")
fi

"$loadtest" instructions "${options[@]}" "${database[@]}"
"$loadtest" instructions --browser "${options[@]}" "${database[@]}"
if [ -n "$memory" ] && [ -n "$shunt" ]; then
    "$loadtest" memory --links "$links" "${options[@]}"
fi
