# Apache Cassandra for tests, from Maven Central: fetching it, starting and stopping nodes of a cluster on loopback
# addresses. Source it after common.sh; it runs nothing by itself.

cassandra_opens=(java.io java.lang java.lang.module java.lang.reflect java.nio java.util jdk.internal.loader
  jdk.internal.math jdk.internal.module jdk.internal.ref jdk.internal.reflect jdk.internal.util.jar sun.nio.ch)
cassandra_exports=(java.base/jdk.internal.misc java.base/java.lang.ref java.base/sun.nio.ch
  java.management.rmi/com.sun.jmx.remote.internal.rmi java.management/com.sun.jmx.remote.security
  java.rmi/sun.rmi.registry java.rmi/sun.rmi.server java.sql/java.sql jdk.unsupported/sun.misc
  jdk.compiler/com.sun.tools.javac.file jdk.attach/sun.tools.attach)

# ensure_cassandra : sets cassandra_lib, the folder of its jars, fetched when it is not there.
ensure_cassandra() {
  ensure_packages java=openjdk-17-jre-headless
  cassandra_lib=$root/target/cassandra/lib
  [ -e "$cassandra_lib/.whole" ] && return
  ensure_packages mvn=maven
  say "fetching Apache Cassandra"
  local log=$root/target/cassandra/fetch.log
  mkdir -p "$cassandra_lib"
  mvn -B -q -f "$root/scripts/cassandra/pom.xml" dependency:copy-dependencies \
    -DoutputDirectory="$cassandra_lib" >"$log" 2>&1 || { cat "$log" >&2; return 1; }
  touch "$cassandra_lib/.whole"
}

# free_port : a port below those that the system hands out, which nobody listens on.
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}

# configure_cassandra FOLDER NUMBER COUNT PORT STORAGE_PORT SYNC [FILE] : writes the settings of node NUMBER of COUNT,
# which has the address 127.0.0.NUMBER. SYNC is `periodic`, or `batch` for a node that is to survive SIGKILL whole. FILE
# has more settings.
configure_cassandra() {
  local folder=$1 number=$2 count=$3 port=$4 storage_port=$5 sync=$6 more=${7:-/dev/null} tokens period=
  case $count in
    1) tokens=(-9223372036854775808) ;;
    3) tokens=(-9223372036854775808 -3074457345618258603 3074457345618258602) ;;
    *) echo "a cluster has 1 or 3 nodes" >&2; return 2 ;;
  esac
  [ "$sync" = batch ] || period="commitlog_sync_period: 10s"
  mkdir -p "$folder/tmp"
  cp "$root/scripts/cassandra/logback.xml" "$folder/logback.xml"
  cat >"$folder/cassandra.yaml" <<YAML
cluster_name: shunt
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
num_tokens: 1
initial_token: ${tokens[number - 1]}
auto_bootstrap: false
listen_address: 127.0.0.$number
rpc_address: 127.0.0.$number
storage_port: $storage_port
native_transport_port: $port
native_transport_max_threads: 16
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{seeds: "127.0.0.1"}]
data_file_directories: ["$folder/data"]
commitlog_directory: $folder/commitlog
saved_caches_directory: $folder/caches
hints_directory: $folder/hints
cdc_raw_directory: $folder/cdc
cdc_enabled: false
commitlog_sync: $sync
$period
commitlog_segment_size: 5MiB
memtable_allocation_type: heap_buffers
disk_access_mode: standard
auto_snapshot: false
incremental_backups: false
key_cache_size: 0MiB
row_cache_size: 0MiB
counter_cache_size: 2MiB
counter_cache_save_period: 0s
concurrent_reads: 8
concurrent_writes: 8
concurrent_counter_writes: 8
prepared_statements_cache_size: 8MiB
networking_cache_size: 16MiB
file_cache_size: 32MiB
hinted_handoff_enabled: true
storage_compatibility_mode: NONE
materialized_views_enabled: false
sasi_indexes_enabled: false
user_defined_functions_enabled: false
read_request_timeout: 10s
range_request_timeout: 10s
write_request_timeout: 10s
cas_contention_timeout: 10s
request_timeout: 10s
YAML
  cat "$more" >>"$folder/cassandra.yaml"
}

# start_cassandra FOLDER NUMBER HEAP_MIB [OPTION…] : starts the node of that folder, and does not wait for it. Its
# process is in FOLDER/pid, its log is FOLDER/log.
start_cassandra() {
  local folder=$1 heap=$3 apart=(setsid nohup)
  shift 3
  (run_cassandra "$folder" "$heap" "$@" >"$folder/log" 2>&1 </dev/null 9>&-) &
  echo $! >"$folder/pid"
}

# What a node is started under, by who wants it to outlive the shell.
apart=()

# run_cassandra FOLDER HEAP_MIB [OPTION…] : becomes the node of that folder.
run_cassandra() {
  local folder=$1 heap=$2 options=() name jamm
  shift 2
  for name in "${cassandra_opens[@]}"; do options+=(--add-opens "java.base/$name=ALL-UNNAMED"); done
  for name in jdk.management/com.sun.management.internal jdk.compiler/com.sun.tools.javac; do
    options+=(--add-opens "$name=ALL-UNNAMED")
  done
  for name in "${cassandra_exports[@]}"; do options+=(--add-exports "$name=ALL-UNNAMED"); done
  jamm=$(echo "$cassandra_lib"/jamm-*.jar)
  exec "${apart[@]}" java "-javaagent:$jamm" "-Xms${heap}m" "-Xmx${heap}m" -Xss512k -XX:+UseSerialGC \
    -XX:ActiveProcessorCount=2 -XX:TieredStopAtLevel=1 "${options[@]}" \
    -Djdk.attach.allowAttachSelf=true -Dio.netty.tryReflectionSetAccessible=true -Djava.net.preferIPv4Stack=true \
    "-Dcassandra.config=file://$folder/cassandra.yaml" "-Dcassandra.storagedir=$folder" \
    "-Dcassandra.logdir=$folder" "-Dlogback.configurationFile=$folder/logback.xml" -Dcassandra-foreground=yes \
    "-Dcassandra.jmx.local.port=$(free_port)" -Dcassandra.consistent.rangemovement=false \
    -Dcassandra.skip_wait_for_gossip_to_settle=0 -Dcassandra.ring_delay_ms=1000 \
    -Dcassandra.superuser_setup_delay_ms=0 "-Djna.tmpdir=$folder/tmp" "-Djava.io.tmpdir=$folder/tmp" "$@" \
    -cp "$folder:$cassandra_lib/*" org.apache.cassandra.service.CassandraDaemon
}

# listens ADDRESS PORT : somebody does.
listens() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }

# runs FOLDER : the process whose number is in FOLDER/pid is there.
runs() { [ -e "$1/pid" ] && kill -0 "$(cat "$1/pid")" 2>/dev/null; }
