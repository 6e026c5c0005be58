# Shared by the scripts: installing what is missing, starting a server, waiting for it.
# Source it; it runs nothing by itself.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# Says what happens next, on standard error so that results can be piped.
say() { printf '\n== %s\n' "$*" >&2; }

# ensure_packages COMMAND=PACKAGE… : installs the Debian packages whose command is missing.
ensure_packages() {
  local missing=() pair
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} -eq 0 ] && return
  say "installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# build_as_tested : all programs, of the same dependencies as the tests. Without the tests' features,
# Tokio's `test-util` above all, nearly every dependency would be built once more.
build_as_tested() { cargo build --quiet --workspace --bins --tests; }

# ensure_node : Node and npm. One after the other: some packages of Node bring npm along, and then
# Debian's must not be asked for.
ensure_node() {
  ensure_packages node=nodejs
  ensure_packages npm=npm
}

# wait_until SECONDS COMMAND… : polls until the command succeeds.
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || { echo "gave up waiting for: $*" >&2; return 1; }
    sleep 0.05
  done
}

# start_shunt BINARY FOLDER [NAME=VALUE…] : starts a server on free ports with its store in FOLDER.
# Sets shunt_pid, shunt_url and shunt_ops; the log is FOLDER.log.
start_shunt() {
  local binary=$1 folder=$2
  shift 2
  mkdir -p "$folder"
  env SHUNT_HTTP__LISTEN=127.0.0.1:0 SHUNT_OPS__LISTEN=127.0.0.1:0 SHUNT_STORAGE__PATH="$folder" \
    SHUNT_LOG__FORMAT=json "$@" "$binary" serve >"$folder.out" 2>"$folder.log" &
  shunt_pid=$!
  wait_until 60 grep -q '"message":"ready"' "$folder.log" || { cat "$folder.log" >&2; return 1; }
  shunt_url=http://$(grep '"message":"ready"' "$folder.log" | tail -1 | sed -E 's/.*"http":"([^"]+)".*/\1/')
  shunt_ops=http://$(grep '"message":"ready"' "$folder.log" | tail -1 | sed -E 's/.*"ops":"([^"]+)".*/\1/')
}

# stop_shunt : the graceful stop, which must exit 0.
stop_shunt() {
  kill -TERM "$shunt_pid"
  wait "$shunt_pid"
}

# metric NAME : sum of a metric over its labels, from the operations listener.
metric() {
  curl -fsS "$shunt_ops/metrics" | awk -v name="$1" '{ split($1, part, "{") } part[1] == name { sum += $2 } END { printf "%d\n", sum }'
}
