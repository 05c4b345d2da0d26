#!/usr/bin/env bash
# loadtest against real servers, and its counts against independent ones. `make loadtest` runs it. Needs node, npm and
# openssl; nothing is skipped when one is missing, the script fails.
#
# LOADTEST_FULL=1 also runs all scenarios against Node and socketioxide, and ends nodes over Redis; it needs cargo and
# redis-server, and takes minutes.
#
# INSTALL_ONLY=1 ends before the tests.
#
# GATEWAY_BIN and LOADTEST_BIN name other programs than those of the debug build.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
peers=$here/../peers
target=${CARGO_TARGET_DIR:-$here/../../target}
work=$(mktemp -d)
pids=()

cleanup() {
  for pid in "${pids[@]}"; do
    kill "$pid" 2>"$work/ignored" || true
  done
  rm -rf "$work"
}
trap cleanup EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

full=${LOADTEST_FULL:-}
for program in node npm openssl ${full:+redis-server cargo}; do
  command -v "$program" >"$work/ignored" || fail "$program is missing"
done
[ -d "$peers/node/node_modules/socket.io" ] || npm ci --prefix "$peers/node"
[ -z "${INSTALL_ONLY:-}" ] || exit 0
loadtest=${LOADTEST_BIN:-$target/debug/loadtest}
gateway=${GATEWAY_BIN:-$target/debug/gateway}
for program in "$loadtest" "$gateway"; do
  [ -x "$program" ] || fail "$program is not built"
done
if [ -n "$full" ]; then
  cargo build --quiet --release --locked --manifest-path "$peers/socketioxide/Cargo.toml" --target-dir "$target/peers"
fi

# wait_for FILE PATTERN: until a line of the file matches; prints the line.
wait_for() {
  for _ in $(seq 200); do
    grep -m1 -E "$2" "$1" && return
    sleep 0.05
  done
  cat "$1" >&2
  fail "no '$2' in $1"
}

# start NAME COMMAND..: starts a server that prints "listening PORT"; sets port and pid.
start() {
  local log=$work/$1.log
  shift
  "$@" >"$log" 2>&1 &
  pid=$!
  pids+=("$pid")
  port=$(wait_for "$log" '^listening ' | cut -d' ' -f2)
}

stop() {
  kill "$1" && wait "$1" 2>"$work/ignored" || true
}

free_port() {
  node -e 's = require("net").createServer().listen(0, () => { console.log(s.address().port); s.close() })'
}

# value FILE EXPRESSION: a value of a JSON file, with `f` for the figures by name.
value() {
  node -e '
    const run = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"));
    const f = Object.fromEntries((run.figures ?? []).map((figure) => [figure.name, figure.value]));
    console.log(eval(process.argv[2]));
  ' "$1" "$2"
}

equal() {
  [ "$2" = "$3" ] || fail "$1: $2 is not $3"
  echo "ok: $1 ($2)"
}

quiet="--quiet --json $work/run.json"

echo "== the same counts at the other end"
coproc counting { exec node "$here/counting-server.js"; }
pids+=("$counting_PID")
read -r _ port <&"${counting[0]}"
url=http://127.0.0.1:$port
$loadtest echo --url "$url" --clients 20 --rate 20 --warmup 200ms --duration 1s $quiet --expect 'lost=0,strays=0,failures=0'
echoes=$(value "$work/run.json" 'f.due + 20')
$loadtest fanout --url "$url" --rooms 3 --members 7 --rate 20 --warmup 200ms --duration 1s $quiet --expect 'lost=0,strays=0,out_of_order=0'
publishes=$(value "$work/run.json" 'f.due / 7')
deliveries=$(value "$work/run.json" 'f.due')
$loadtest polling --url "$url" --clients 10 --rate 20 --polling-share 0.5 --warmup 200ms --duration 1s $quiet --expect 'lost=0'
echoes=$((echoes + $(value "$work/run.json" 'f.due + 10')))
$loadtest connect --url "$url" --clients 50 $quiet --expect 'received=45,failures=0'
$loadtest idle --url "$url" --clients 30 --messages 4 --hold 3500ms --after 0 $quiet --expect 'heartbeats>=60,lost=0,lateness_p99<1s'
echoes=$((echoes + 30 * 4))
eval "exec ${counting[1]}>&-"
read -r counted <&"${counting[0]}"
echo "$counted" >"$work/counted.json"
# The publishers' greetings are echoes too.
equal "echoes" "$(value "$work/counted.json" 'run.echo')" "$((echoes + 3))"
equal "joins" "$(value "$work/counted.json" 'run.join')" 21
equal "publishes" "$(value "$work/counted.json" 'run.publish')" "$publishes"
equal "deliveries" "$(value "$work/counted.json" 'run.emitted')" "$deliveries"
equal "connections" "$(value "$work/counted.json" 'run.connected')" $((20 + 24 + 10 + 50 + 30))
equal "polling connections" "$(value "$work/counted.json" 'run.polling')" 5

echo "== each planted fault is told"
coproc faulty { exec node "$here/faulty-server.js"; }
pids+=("$faulty_PID")
read -r _ port <&"${faulty[0]}"
# Five at a time: a machine that is busy otherwise has to keep up.
faults=("none lose twice swap part" "deny roomless rename refuse dismiss" "forbid reject slow behind without"
  "vanish silence")
for five in "${faults[@]}"; do
  runs=()
  for fault in $five; do
    $loadtest jitter --url "http://127.0.0.1:$port" --path "/$fault/" --rooms 2 --members 10 --rate 20 --broadcast-rate 5 \
      --every 1s --away 200ms --duration 4s --quiet --json "$work/$fault.json" >"$work/$fault.txt" 2>&1 &
    runs+=($!)
  done
  for run in "${runs[@]}"; do wait "$run" || fail "a run against a planted fault did not end well"; done
done
eval "exec ${faulty[1]}>&-"
read -r planted <&"${faulty[0]}"
echo "$planted" >"$work/planted.json"
planted() { value "$work/planted.json" "run.$1"; }
# holds FAULT EXPRESSION: what a run has to show; P is how often the server did it.
holds() {
  local found
  found=$(value "$work/$1.json" "((P) => $2)($(planted "$1"))")
  [ "$found" = true ] || { cat "$work/$1.txt" "$work/planted.json"; fail "$1: $2 does not hold"; }
  echo "ok: $1: $2"
}
clean='f.lost === 0 && f.missed === 0 && f.duplicated === 0 && f.out_of_order === 0'
none='f.refused === 0 && f.turned_away === 0 && f.publishes_refused === 0 && f.unsure === 0 && f.renamed === 0'
holds none "$clean && $none && f.returns > 20 && f.recovered === 1 && f.replayed > 50 && f.brought_back === 1"
holds lose 'P > 0 && f.lost === P && f.lost_connected + f.lost_away === P && f.duplicated === 0 && f.out_of_order === 0'
equal 'lose: messages named' "$(value "$work/lose.json" 'run.findings.filter((it) => it.fault === "lost").length')" \
  "$(planted lose)"
grep -q 'lost: client .*, sent .*, acknowledged ' "$work/lose.txt" || fail 'the lost messages are not named'
holds twice 'P > 0 && f.duplicated === P && f.lost === 0 && f.out_of_order === 0'
holds swap 'P > 0 && f.out_of_order === P * 10 && f.out_of_order_unsure === 0 && f.lost === 0 && f.duplicated === 0'
holds part 'P > 0 && f.lost === P && f.recovered === 1'
holds deny 'P > 0 && f.not_recovered === P && f.lost === 0 && f.duplicated === 0 && f.out_of_order === 0'
holds deny "f.missed >= $(planted denied_messages) && f.missed <= $(planted denied_messages) + 10 * P"
holds roomless 'P > 0 && f.lost > P && f.recovered === 1'
holds rename "P > 0 && f.renamed === P && $clean"
holds refuse 'P > 0 && f.refused === P && f.turned_away === 0 && f.lost === 0'
# Some may be cut at that very moment, and never hear it.
holds dismiss 'f.refused > 0 && f.refused <= P && f.lost === 0'
holds forbid "P > 0 && f.turned_away === P && f.refused === 0 && $clean"
holds reject "P > 0 && f.publishes_refused === P && f.unsure === P && $clean"
holds slow "$clean && f.replay_p50 >= 0.3"
holds behind "P > 0 && $clean && f.replay_p50 >= 0.3"
holds vanish "P > 0 && $clean && $none && f.brought_back === 1 && f.failures >= P - 2 && f.failures <= P"
holds silence "P > 0 && f.lost === 0 && f.duplicated === 0 && f.brought_back === 1 && f.failures > 0"
holds without 'f.recovered === 0 && f.not_recovered === f.returns && f.lost_away > f.lost / 2 && f.lost > 30 && f.missed === 0'
grep -q 'offers no recovery' "$work/without.txt" || fail "a server without recovery is not named"

# How exactly a server keeps its order: socketioxide runs every event in a task of its own.
order() {
  if [ "$1" = socketioxide ]; then echo 'out_of_order>=0'; else echo out_of_order=0; fi
}

# witnessed NAME URL PID [OPTION..]: official clients in the room of a fan-out see what loadtest says that it sent. The
# witnesses are in the namespace of the variable NAMESPACE.
witnessed() {
  local name=$1 url=$2 server=$3
  shift 3
  echo "== $name: official clients in the room of a fan-out see the same"
  coproc witness { exec node "$here/witness.js" "$url${NAMESPACE:-}" r0; }
  local witness_pid=$witness_PID
  pids+=("$witness_pid")
  read -r ready <&"${witness[0]}"
  [ "$ready" = ready ] || fail "the witnesses of $name are not in their room"
  $loadtest fanout --url "$url" --members 50 --rate 100 --size 100 --warmup 500ms --duration 2s --pid "$server" $quiet \
    "$@" --expect "lost=0,strays=0,failures=0,$(order "$name")"
  published=$(value "$work/run.json" 'f.due / 50')
  echo "$published" >&"${witness[1]}"
  read -r seen <&"${witness[0]}"
  echo "$seen" >"$work/seen.json"
  equal "$name: events at the official clients" "$(value "$work/seen.json" 'run.map((w) => w.count).join()')" \
    "$published,$published,$published"
  if [ "$name" != socketioxide ]; then
    equal "$name: without a gap" "$(value "$work/seen.json" 'run.every((w) => w.gapless)')" true
  fi
  equal "$name: payloads whole" "$(value "$work/seen.json" 'run.every((w) => w.sizes.join() === "100")')" true
  local binary=0
  [[ " $* " != *" --binary "* ]] || binary=$published
  equal "$name: binary payloads" "$(value "$work/seen.json" 'run.map((w) => w.binary).join()')" "$binary,$binary,$binary"
  wait "$witness_pid"
}

# recovered NAME URL: official clients whose connections break see the same as the tool's.
recovered() {
  local name=$1 url=$2 sent
  echo "== $name: official clients are recovered and miss nothing"
  coproc witness { exec node "$here/witness.js" "$url" r0 600; }
  local witness_pid=$witness_PID
  pids+=("$witness_pid")
  read -r ready <&"${witness[0]}"
  [ "$ready" = ready ] || fail "the witnesses of $name are not in their room"
  $loadtest jitter --url "$url" --members 50 --rate 50 --every 2s --away 300ms --duration 5s $quiet \
    --expect 'recovered>=98%,lost=0,duplicated=0,out_of_order=0,refused=0,turned_away=0'
  sent=$(value "$work/run.json" 'f.sent')
  echo "$sent" >&"${witness[1]}"
  read -r seen <&"${witness[0]}"
  echo "$seen" >"$work/seen.json"
  equal "$name: events at the official clients" "$(value "$work/seen.json" 'run.map((w) => w.count).join()')" \
    "$sent,$sent,$sent"
  equal "$name: without a gap" "$(value "$work/seen.json" 'run.every((w) => w.gapless)')" true
  equal "$name: recovered each time" "$(value "$work/seen.json" 'run.every((w) => w.recovered > 0 && w.anew === 0)')" true
  wait "$witness_pid"
}

# scenarios NAME URL PID: every scenario against one server.
scenarios() {
  local name=$1 url=$2 server=$3 in_order
  in_order=$(order "$name")
  echo "== $name: scenarios"
  $loadtest fanout --url "$url" --rooms 10 --members 10 --window 2 --threads 2 --warmup 200ms --duration 1s --pid "$server" \
    $quiet --expect "lost=0,strays=0,failures=0,rate>1000,$in_order"
  $loadtest echo --url "$url" --clients 20 --window 4 --warmup 200ms --duration 1s $quiet --expect 'lost=0,strays=0,rate>1000'
  $loadtest polling --url "$url" --clients 20 --warmup 200ms --duration 1s $quiet --expect 'lost=0,failures=0,rate>100'
  $loadtest polling --work fanout --polling-share 0.5 --url "$url" --members 20 --rate 20 --warmup 200ms --duration 1s $quiet \
    --expect "lost=0,failures=0,$in_order"
  $loadtest connect --url "$url" --clients 200 $quiet --expect 'received=180,failures=0'
  $loadtest connect --url "$url" --clients 20 --churn 1s $quiet --expect 'rate>100'
  $loadtest jitter --url "$url" --members 20 --rate 20 --every 1s --away 200ms --duration 4s $quiet \
    --expect 'cuts>20,lost_connected=0,duplicated=0,unsure=0,connected=21'
  $loadtest avalanche --url "$url" --members 100 --rate 5 $quiet --expect 'brought_back=100%,lost_connected=0,duplicated=0'
  $loadtest idle --url "$url" --clients 50 --messages 3 --hold 1s --after 0 --pid "$server" $quiet \
    --expect 'lost=0,connected=50,resident_used>0'
}

"$gateway" serve --listen 127.0.0.1:0 --internal-listen 127.0.0.1:0 --demo false --shutdown-drain 0s >"$work/gateway.log" 2>&1 &
gateway_pid=$!
pids+=("$gateway_pid")
wait_for "$work/gateway.log" ' listening ' >"$work/listening"
gateway_url=http://$(grep -oE '127\.0\.0\.1:[0-9]+' "$work/listening" | head -n 1)
witnessed gateway "$gateway_url" "$gateway_pid"
witnessed gateway "$gateway_url" "$gateway_pid" --binary
scenarios gateway "$gateway_url" "$gateway_pid"
start node node "$peers/node/server.js" 0
node_url=http://127.0.0.1:$port node_pid=$pid
witnessed node "$node_url" "$node_pid"
if [ -n "$full" ]; then
  scenarios node "$node_url" "$node_pid"
  start socketioxide "$target/peers/release/loadtest-peer-socketioxide" 0
  witnessed socketioxide "http://127.0.0.1:$port" "$pid"
  scenarios socketioxide "http://127.0.0.1:$port" "$pid"
  stop "$pid"
fi
stop "$gateway_pid"

# refused WHY OPTION..: loadtest ends with 2 and says why.
refused() {
  local why=$1 code=0
  shift
  $loadtest "$@" >"$work/out" 2>&1 || code=$?
  equal "exit code: $why" "$code" 2
  grep -qF -- "$why" "$work/out" || { cat "$work/out" >&2; fail "'$why' is not said"; }
}

echo "== TLS, a namespace and binary payloads"
keys=$work/keys
mkdir "$keys"
key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
openssl req -x509 $key -days 2 -subj /CN=ca -keyout "$keys/ca.key" -out "$keys/ca.crt" 2>"$work/ignored"
# certificate NAME SAN: signed by the authority.
certificate() {
  openssl req $key -subj "/CN=$1" -keyout "$keys/$1.key" -out "$keys/$1.csr" 2>"$work/ignored"
  openssl x509 -req -in "$keys/$1.csr" -CA "$keys/ca.crt" -CAkey "$keys/ca.key" -CAcreateserial -days 2 \
    -extfile <(echo "subjectAltName=$2") -out "$keys/$1.crt" 2>"$work/ignored"
}
certificate here IP:127.0.0.1
certificate elsewhere DNS:elsewhere.test
export NODE_EXTRA_CA_CERTS=$keys/ca.crt
token=swordfish
coproc chatting { KEY=$keys/here.key CERT=$keys/here.crt TOKEN=$token exec node "$here/counting-server.js"; }
pids+=("$chatting_PID")
read -r _ port <&"${chatting[0]}"
url=https://127.0.0.1:$port
dressed="--url $url --ca $keys/ca.crt --namespace /chat --binary $quiet"
auth="{\"token\":\"$token\"}"
$loadtest echo $dressed --auth "$auth" --clients 20 --rate 20 --warmup 200ms --duration 1s --expect 'lost=0,strays=0,failures=0'
binary=$(value "$work/run.json" 'f.due')
! grep -q "$token" "$work/run.json" || fail "the report tells the token"
$loadtest fanout $dressed --auth "$auth" --rooms 3 --members 7 --rate 20 --warmup 200ms --duration 1s \
  --expect 'lost=0,strays=0,out_of_order=0'
deliveries=$(value "$work/run.json" 'f.due')
binary=$((binary + deliveries / 7))
# Large ones take many records and many writes; polling carries them as base64.
$loadtest polling $dressed --auth "$auth" --clients 6 --polling-share 0.5 --size 200000 --window 2 --warmup 0 --duration 1s \
  --expect 'lost=0,strays=0,failures=0'
binary=$((binary + $(value "$work/run.json" 'f.due')))
$loadtest idle $dressed --auth "$auth" --clients 30 --messages 4 --hold 2500ms --after 0 \
  --expect 'lost=0,failures=0,heartbeats>=30'
binary=$((binary + 30 * 4))
$loadtest connect --url "$url" --ca "$keys/ca.crt" --namespace chat --auth "$auth" --clients 50 $quiet \
  --expect 'received=45,failures=0'
$loadtest connect --url "${url/https/wss}" --tls-verify none --clients 10 $quiet --expect 'received=9,failures=0'
refused 'no such token' echo $dressed --auth '{"token":"x"}' --ready-within 2s
refused 'UnknownIssuer' echo --url "$url"
eval "exec ${chatting[1]}>&-"
read -r counted <&"${chatting[0]}"
echo "$counted" >"$work/counted.json"
equal "binary payloads at the server" "$(value "$work/counted.json" 'run.chat.binary')" "$binary"
equal "connections in the namespace" "$(value "$work/counted.json" 'run.chat.connected')" $((20 + 24 + 6 + 30 + 50))
equal "connections in /" "$(value "$work/counted.json" 'run.connected')" 10
equal "deliveries in the namespace" "$(value "$work/counted.json" 'run.chat.emitted')" "$deliveries"
equal "protocols above TLS" "$(value "$work/counted.json" 'Object.keys(run.protocols).join()')" http/1.1

# One that the authority signed, and one that is its own, as `openssl req -x509` makes it.
openssl req -x509 $key -days 2 -subj /CN=alone -addext subjectAltName=DNS:elsewhere.test -keyout "$keys/alone.key" \
  -out "$keys/alone.crt" 2>"$work/ignored"
for pair in "elsewhere ca" "alone alone"; do
  read -r shown trusted <<<"$pair"
  coproc elsewhere { KEY=$keys/$shown.key CERT=$keys/$shown.crt exec node "$here/counting-server.js"; }
  pid=$elsewhere_PID
  pids+=("$pid")
  read -r _ port <&"${elsewhere[0]}"
  refused 'not valid for name' connect --url "https://127.0.0.1:$port" --ca "$keys/$trusted.crt"
  $loadtest connect --url "https://127.0.0.1:$port" --ca "$keys/$trusted.crt" --tls-verify ca --clients 10 $quiet \
    --expect 'received=9,failures=0'
  stop "$pid"
done
refused 'received corrupt message' connect --url "https://${node_url#http://}"
refused '--ca and --tls-verify are for https' connect --url "$node_url" --ca "$keys/ca.crt"
refused 'reading /nowhere' connect --url "$url" --ca /nowhere
refused 'these clients only connect' connect --url "$node_url" --binary
refused 'these clients only connect' polling --work connect --url "$node_url" --binary
refused 'a namespace has neither commas' connect --url "$node_url" --namespace /a,b
refused '--namespace names a namespace' connect --url "$node_url/chat"
# A frozen process takes connections, too: its system does.
kill -STOP "$node_pid"
began=$SECONDS
refused 'it takes connections, and says nothing' connect --url "$node_url"
echo "told after $((SECONDS - began)) s"
kill -CONT "$node_pid"
# A namespace that is not there is told with the server's words, and long before all clients had to be ready.
refused 'Invalid namespace' connect --url "$node_url" --namespace /nowhere
grep -q 'ready after 10s' "$work/out" || fail "the tool went on asking a server that refuses everybody"

echo "== thresholds and the report"
code=0
$loadtest echo --url "$node_url" --clients 2 --warmup 0 --duration 500ms $quiet --expect 'rate<1' >"$work/out" 2>&1 || code=$?
equal "exit code of a missed threshold" "$code" 1
grep -q 'expected rate<1: it was' "$work/out" || fail "the missed threshold is not named"
$loadtest echo --url "$node_url" --clients 2 --warmup 0 --duration 500ms $quiet --report "$work/page.html" \
  --expect 'lost=0,rate>1, connected>=2' --auth "$auth" >"$work/out"
# The text, the JSON and the page say when, how and on what, and confirm each threshold that holds.
version=$("$loadtest" --version | cut -d' ' -f2)
for said in "as expected: lost=0: it was 0" "as expected: rate>1: it was " "as expected: connected>=2: it was 2" \
  "run on .* GMT: loadtest echo --url $node_url .* --auth \.\." \
  "loadtest $version on [0-9]* cores of .*, memory .* kB, Linux [0-9]"; do
  for report in "$work/out" "$work/run.json" "$work/page.html"; do
    grep -q "$said" "$report" || { cat "$work/out" >&2; fail "'$said' is not in $report"; }
    ! grep -q "$token" "$report" || fail "$report tells the token"
  done
done
echo "ok: date, command, version, machine and thresholds are in all reports"
# Several processes, in one option or in two, are added up.
start second node "$peers/node/server.js" 0
resident() { awk '/^VmRSS:/ { print $2 * 1024 }' "/proc/$1/status"; }
both=$(($(resident "$node_pid") + $(resident "$pid")))
for several in "--pid $node_pid,$pid" "--pid $node_pid --pid $pid"; do
  $loadtest idle --url "$node_url,http://127.0.0.1:$port" $several --clients 2 --messages 0 --hold 100ms --after 0 $quiet \
    --expect 'connected=2,server_cores>=0'
  for figure in resident_before server_resident; do
    equal "$figure with $several" \
      "$(value "$work/run.json" "Math.abs(f.$figure - $both) < $both / 10 || f.$figure + ' of $both'")" true
  done
done
stop "$pid"
refused "no process $pid" connect --url "$node_url" --pid "$node_pid,$pid"
code=0
code=0
$loadtest echo --url http://127.0.0.1:1 --expect 'speed>1' >"$work/out" 2>&1 || code=$?
equal "exit code of a bad expression" "$code" 2
grep -q 'is no figure' "$work/out" || fail "the bad expression is not explained"
code=0
$loadtest echo --url http://127.0.0.1:1 --ready-within 1s $quiet >"$work/out" 2>&1 || code=$?
equal "exit code without a server" "$code" 2
grep -q 'no server answers: 127.0.0.1:1: Connection refused' "$work/out" || fail "the missing server is not named"
$loadtest fanout --url "$node_url" --members 5 --rate 50 --warmup 0 --duration 2500ms --pid "$node_pid" --quiet \
  --report "$work/page.html"
grep -q '"server_resident":[0-9]' "$work/page.html" || fail "the page has no server memory"
(sleep 1; kill "$node_pid") &
code=0
$loadtest fanout --url "$node_url" --members 5 --rate 50 --warmup 0 --duration 2s $quiet --expect 'lost=0' >"$work/out" 2>&1 || code=$?
equal "exit code when the server dies" "$code" 1

echo "== nodes of its own, terminated and killed"
port=$(free_port)
common="--url http://127.0.0.1:$port --members 20 --rate 20 --pause 2s"
node="RECOVERY_WINDOW=120000 node $peers/node/server.js $port"
# Node's memory ends with it: all are told so, and what they missed is not lost.
$loadtest kill $common --node "$node" --down 300ms $quiet \
  --expect 'kills=1,not_recovered=21,lost=0,duplicated=0,out_of_order=0,brought_back=100%'
$loadtest rollout $common --node "$node" $quiet --expect 'restarts=1,not_recovered=21,lost=0,duplicated=0,brought_back=100%'
code=0
$loadtest kill $common --node "node -e 'process.exit(3)'" $quiet --ready-within 2s >"$work/out" 2>&1 || code=$?
equal "exit code of a node that does not start" "$code" 2

start recovering env RECOVERY_WINDOW=120000 node "$peers/node/server.js" 0
recovered node "http://127.0.0.1:$port"
echo "== recovery in one command"
code=0
$loadtest recovery --url "http://127.0.0.1:$port" --clients 40 --duration 4s --every 2s --away 300ms $quiet >"$work/out" 2>&1 ||
  code=$?
# Node recovers neither quiet clients nor those whose old connection it still believes in.
equal "exit code of a recovery that is not whole" "$code" 1
grep -q 'expected recovered=100%: it was' "$work/out" || fail "the part that is recovered is not named"
stop "$pid"

gateway_nodes() {
  local node node_port
  urls= nodes=()
  for ((node = 0; node < $1; node++)); do
    node_port=$(free_port)
    urls=$urls,http://127.0.0.1:$node_port
    nodes+=(--node "$gateway serve --listen 127.0.0.1:$node_port --internal-listen 127.0.0.1:0 --demo false \
      --recovery-window 2m ${*:2} >>$work/node-$node.log 2>&1")
  done
  urls=${urls#,}
}

gateway_nodes 1 --shutdown-drain 0s
# A node alone keeps all in its memory, which ends with it: everybody is told.
$loadtest rollout --url "$urls" --members 20 --pause 1s "${nodes[@]}" $quiet \
  --expect 'not_recovered=21,lost=0,duplicated=0,out_of_order=0,brought_back=100%'
"$gateway" serve --listen 127.0.0.1:0 --internal-listen 127.0.0.1:0 --demo false --recovery-window 2m \
  >"$work/recovering.log" 2>&1 &
pid=$!
pids+=("$pid")
wait_for "$work/recovering.log" ' listening ' >"$work/listening"
gateway_url=http://$(grep -oE '127\.0\.0\.1:[0-9]+' "$work/listening" | head -n 1)
recovered gateway "$gateway_url"
$loadtest recovery --url "$gateway_url" --clients 40 --duration 4s --every 2s --away 300ms $quiet
stop "$pid"

echo "== a gateway with TLS, tokens and a namespace"
export GATEWAY_AUTH_JWT_SECRET=0123456789abcdef0123456789abcdef
TOKEN=$("$gateway" token --sub loadtest --namespace /chat)
export TOKEN
"$gateway" serve --listen 127.0.0.1:0 --internal-listen 127.0.0.1:0 --recovery-window 2m --namespaces /chat \
  --tls-cert "$keys/here.crt" --tls-key "$keys/here.key" >"$work/chatting.log" 2>&1 &
pid=$!
pids+=("$pid")
wait_for "$work/chatting.log" ' listening ' >"$work/listening"
url=https://$(grep -oE '127\.0\.0\.1:[0-9]+' "$work/listening" | head -n 1)
dressed=(--ca "$keys/ca.crt" --namespace /chat --auth "{\"token\":\"$TOKEN\"}" --binary)
NAMESPACE=/chat witnessed gateway "$url" "$pid" "${dressed[@]}"
$loadtest recovery --url "$url" "${dressed[@]}" --clients 40 --duration 4s --every 2s --away 300ms $quiet
$loadtest avalanche --url "$url" "${dressed[@]}" --members 100 --rate 5 $quiet \
  --expect 'brought_back=100%,lost=0,duplicated=0,recovered=100%'
stop "$pid"
unset GATEWAY_AUTH_JWT_SECRET TOKEN

echo "== the floor"
start floor "$loadtest" floor --listen 127.0.0.1:0 --threads 2
$loadtest fanout --url "http://127.0.0.1:$port" --members 50 --window 8 --warmup 200ms --duration 1s --pid "$pid" $quiet \
  --expect 'lost=0,strays=0,out_of_order=0,rate>1000'
stop "$pid"

if [ -z "$full" ]; then
  echo "all agree"
  exit
fi

redis_port=$(free_port)
redis-server --bind 127.0.0.1 --port "$redis_port" --save '' --appendonly no --dir "$work" >"$work/redis.log" 2>&1 &
pids+=($!)
wait_for "$work/redis.log" 'Ready to accept connections' >"$work/ignored"

echo "== a rollout and kills lose nothing"
gateway_nodes 3 --redis-url "redis://127.0.0.1:$redis_port" --shutdown-drain 5s
flow="--rooms 5 --members 20 --active-rooms 3 --rate 10 --broadcast-rate 2"
nothing='recovered=100%,lost=0,duplicated=0,out_of_order=0,refused=0,brought_back=100%'
$loadtest rollout --url "$urls" $flow --pause 4s "${nodes[@]}" $quiet --expect "restarts=3,$nothing"
$loadtest kill --url "$urls" $flow --pause 4s --times 6 "${nodes[@]}" $quiet --expect "kills=6,$nothing"

echo "== nodes restarted in turn"
cat >"$work/restart" <<RESTART
#!/usr/bin/env bash
# restart NODE PORT: ends the node's process, if there is one, and starts it again on the same port.
[ -e "$work/\$1.pid" ] && kill "\$(cat "$work/\$1.pid")"
: >"$work/\$1.log"
for _ in \$(seq 100); do
  node "$peers/node/server.js" "\$2" redis://127.0.0.1:$redis_port >"$work/\$1.log" 2>&1 &
  echo \$! >"$work/\$1.pid"
  for _ in \$(seq 100); do
    grep -q listening "$work/\$1.log" && exit 0
    kill -0 \$! || break
    sleep 0.05
  done
done
exit 1
RESTART
chmod +x "$work/restart"
urls=
restarts=()
for node in a b; do
  node_port=$(free_port)
  "$work/restart" $node "$node_port" 2>"$work/ignored"
  urls=$urls,http://127.0.0.1:$node_port
  restarts+=(--restart "$work/restart $node $node_port")
done
$loadtest rollout --url "${urls#,}" --members 40 --rate 20 "${restarts[@]}" --pause 3s $quiet \
  --expect 'restarts=2,brought_back=100%,duplicated=0,failures>0,due>2000' 2>"$work/rollout.log"
for node in a b; do pids+=("$(cat "$work/$node.pid")"); done

echo "all agree"
