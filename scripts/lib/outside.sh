# Checks with tools that nobody here wrote, against the real binary. Sourced by scripts/test.


outside_checks() {
  ensure_packages wrk=wrk curl=curl python3=python3 unshare=util-linux mount=mount
  python3 -c 'import ensurepip' 2>/dev/null || ensure_packages no-such-command=python3-venv
  build_as_tested
  binary=$root/target/debug/shunt
  folder=$work/outside
  check "scripts/geoip fetches a database of countries" scripts/geoip "$work/geoip"
  start_shunt "$binary" "$folder" SHUNT_CLICKS__GEOIP="[\"$work/geoip/country.mmdb\"]"
  key=$(sed -n 's/^owner API key: //p' "$folder.out")
  check "first start prints one owner key" test -n "$key"
  check "the fetched database serves" database_serves
  check "wrk sees nothing but redirects" wrk_sees_redirects
  check "parallel curl gets one winner for an alias" curl_races_for_an_alias
  check "schemathesis agrees with openapi.json" schemathesis_agrees
  check "clicks are counted exactly" clicks_are_exact
  check "a graceful stop exits 0" stop_shunt
  check "kill -9 loses nothing" scripts/drill kill --rounds 3 --nested 3 --binary "$binary"
  check "a click shows within 5 s under load" scripts/drill fresh --seconds 15 --visitors 24 --binary "$binary"
  check "the kill drill can fail" canary_fails
  check "a full disk costs no redirect and no link" drill_shortly disk --file-system tmpfs --size-mib 64 --rounds 1 --recover-seconds 20
  check "the disk drill can fail" ends_with 1 drill_shortly disk --file-system tmpfs --size-mib 64 --rounds 1 --recover-seconds 20 --canary link
  check "a failing disk costs no redirect and no link" drill_shortly eio --recover-seconds 20
  check "the eio drill can fail" ends_with 1 drill_shortly eio --canary durable --recover-seconds 3
  check "slow peers are cut off" drill_slow --idle 1000 --slow 100 --keep-alive 5
  check "a thousand logins at once do no harm" drill_logins --rounds 2
  check "the logins drill can fail" ends_with 1 drill_logins --rounds 1 --canary
  check "nothing that fails among three nodes costs a redirect or a click" drill_cluster
  check "the cluster drill can fail" ends_with 1 drill_cluster redis-empty --canary stale
  check "the slow drill can fail" ends_with 1 drill_slow --canary --idle 10 --slow 0 --keep-alive 1
}

create_link() {
  curl -fsS -X POST "$shunt_url/api/v1/links" -H "Authorization: Bearer $key" \
    -H 'Content-Type: application/json' -d "$1"
}

database_serves() {
  curl -fsS "$shunt_ops/healthz" | tee "$work/health.json"
  grep -q 'country.mmdb' "$work/health.json" && ! grep -q 'warn' "$work/health.json"
}

wrk_sees_redirects() {
  create_link '{"destination":"https://example.com/spring","alias":"spring"}' >/dev/null
  wrk -t1 -c16 -d2s "$shunt_url/spring" | tee "$work/wrk.txt"
  ! grep -q 'Non-2xx' "$work/wrk.txt" && ! grep -q 'Socket errors' "$work/wrk.txt" \
    && grep -qE '^ +[1-9][0-9]* requests' "$work/wrk.txt"
}

curl_races_for_an_alias() {
  local config=$work/race.cfg i
  for i in $(seq 200); do
    printf 'url = "%s/api/v1/links"\nheader = "Authorization: Bearer %s"\nheader = "Content-Type: application/json"\ndata = "{\\"destination\\":\\"https://example.com/%s\\",\\"alias\\":\\"contested\\"}"\noutput = /dev/null\nwrite-out = "%%{http_code}\\n"\n' \
      "$shunt_url" "$key" "$i"
    [ "$i" -eq 200 ] || echo next
  done >"$config"
  curl -sS --parallel --parallel-max 50 --config "$config" | sort | uniq -c | tee "$work/race.txt"
  [ "$(awk '$2 == 201 { print $1 }' "$work/race.txt")" = 1 ] \
    && [ "$(awk '$2 == 409 { print $1 }' "$work/race.txt")" = 199 ]
}

# Left out: what no schema can say (a time must be in the future, an alias not reserved), a media type
# that the tool cannot write, the call that could revoke the key the other checks need, and live clicks,
# whose answer has no end.
schemathesis_agrees() {
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" install --quiet schemathesis==4.32.5
  # It keeps what it found in a folder where it runs.
  (cd "$work" && venv/bin/schemathesis run "$shunt_url/api/v1/openapi.json" \
    --header "Authorization: Bearer $key" --max-examples 25 --seed 1 --no-color \
    --exclude-checks positive_data_acceptance --exclude-operation-id import_links \
    --exclude-operation-id revoke_api_key --exclude-operation-id watch_clicks)
}

# accepted = counted + in journal + dropped, and nothing dropped, once the journal is drained.
clicks_are_exact() {
  wait_until 20 drained && [ "$(metric shunt_clicks_dropped_total)" = 0 ] \
    && [ "$(metric shunt_clicks_counted_total)" = "$(metric shunt_clicks_accepted_total)" ]
}

drained() { [ "$(metric shunt_clicks_in_journal)" = 0 ]; }

# Short faults, and patience with a slow machine. What cannot be run (exit 2) is a failure too.
drill_shortly() {
  scripts/drill "$@" --seconds 1 --connections 8 --binary "$binary"
}

drill_slow() { scripts/drill slow --binary "$binary" "$@"; }

# Unoptimised code says nothing of latency: what must hold here are answers and memory.
drill_logins() {
  scripts/drill logins --accounts 20 --seconds 2 --ratio-max 10 --binary "$binary" "$@"
}

# The same, with nodes, database and load on the same two cores.
drill_cluster() {
  scripts/drill cluster --short --ratio-max 10 --overdue-max 0.1 --refused-ms-max 1000 --binary "$binary" "$@"
}

# ends_with CODE COMMAND… : succeeds when the command ends with exactly this exit code.
ends_with() {
  local expected=$1 code=0
  shift
  "$@" || code=$?
  [ "$code" -eq "$expected" ]
}

canary_fails() { ! scripts/drill kill --rounds 1 --canary --binary "$binary" >/dev/null 2>&1; }

