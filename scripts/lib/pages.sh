# The pages in a real browser: Debian's chromium, driven from tests/pages. Sourced by scripts/test.

pages_checks() {
  ensure_packages chromium=chromium
  ensure_node
  build_as_tested
  say "pages in a browser"
  (cd tests/pages && npm ci --no-audit --no-fund --loglevel error) >&2 || true
  node --test --test-reporter=tap tests/pages/ 2>&1 | tee "$work/pages.log" || true
  passed=$((passed + $(awk '$2 == "pass" { n += $3 } END { print n + 0 }' "$work/pages.log")))
  failed=$((failed + $(awk '$2 == "fail" || $2 == "cancelled" { n += $3 } END { print n + 0 }' "$work/pages.log")))
  grep -E '^ *not ok ' "$work/pages.log" >>"$work/failures" || true
  check "the pages were looked at" grep -q '^# pass [1-9]' "$work/pages.log"
}
