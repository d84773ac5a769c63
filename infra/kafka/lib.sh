# shellcheck shell=bash
# Helpers of `local`: what must be installed, secrets, and how a node is run by either kind of engine.
# They read what `local` sets: DIR, LIBS, the cluster, and the variables of the current node.
# shellcheck disable=SC2153,SC2154

say() { echo "kafka: $*" >&2; }
die() { say "$*"; exit 1; }

# Two test processes may say `up` at the same moment. The lock belongs to the open file, so python may take it
# and leave; flock(1) is not on every machine. Every child that stays must close descriptor 9.
lock() { exec 9>>"$DIR/lock"; python3 -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'; }

probe() { python3 "$HERE/probe.py" "$@" 9>&-; }

# $1 lines of $2 free ports. Below the range from which outgoing connections take theirs, or a node that was
# down for a moment could find its port gone.
free_ports() {
    python3 - "$1" "$2" <<'PY'
import random, socket, sys
lines, width = map(int, sys.argv[1:])
held = []
while len(held) < lines * width:
    s = socket.socket()
    try:
        s.bind(("127.0.0.1", random.randint(20000, 31999)))
        held.append(s)
    except OSError:
        pass
ports = [str(s.getsockname()[1]) for s in held]
for i in range(lines):
    print(",".join(ports[i * width:(i + 1) * width]))
PY
}

random_id() {   # as Kafka writes a UUID; a leading '-' would be taken for an option
    python3 -c 'import base64, uuid
while (s := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))[0] == "-": pass
print(s)'
}

choose_engine() {   # sets ENGINE
    ENGINE=${KAFKA_ENGINE:-java}
    [[ $ENGINE == java || $ENGINE == docker ]] || die "KAFKA_ENGINE is docker or java, not '$ENGINE'"
    if [[ -z ${KAFKA_ENGINE:-} ]] && command -v docker >/dev/null && docker info >/dev/null 2>&1; then ENGINE=docker; fi
}

get_engine() {
    if [[ $ENGINE == java ]]; then get_java; get_jars; return; fi
    docker image inspect "$IMAGE" >/dev/null 2>&1 || docker pull -q "$IMAGE" >&2
}

# Sets $java to a Java of 17 or newer.
find_java() {
    local major
    for java in ${JAVA_HOME:+"$JAVA_HOME/bin/java"} java; do
        major=$("$java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -1) || continue
        if ((${major:-0} >= 17)); then return 0; fi
    done
    return 1
}

get_java() {
    find_java || { install_packages 'Java 17 or newer' openjdk-17-jre-headless default-jre-headless; find_java; } ||
        { say 'Java 17 or newer is needed'; exit 3; }
}

install_packages() {   # $1: what a person calls it, $2...: Debian packages of which the first that there is will do
    local what=$1 package; shift
    if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
        say "$what is missing. Install it (Debian: $1), or start a container engine, or set KAFKA_BOOTSTRAP."
        exit 3
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >/dev/null 9>&-
    for package in "$@"; do
        apt-cache show "$package" >/dev/null 2>&1 || continue
        apt-get install -y -qq --no-install-recommends "$package" >/dev/null 9>&-
        return
    done
}

# Kafka's packages, from wherever this machine's Maven gets its packages.
get_jars() {
    [[ -d $LIBS ]] && return
    command -v mvn >/dev/null || install_packages Maven maven
    say "getting the packages of Kafka $VERSION with mvn"
    local new a
    mkdir -p "$(dirname "$LIBS")"
    new=$(mktemp -d "$LIBS.XXXXXX")
    {
        echo '<project><modelVersion>4.0.0</modelVersion>'
        echo '<groupId>local</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>'
        echo "<dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>"
        echo "<version>$VERSION</version></dependency>"
        echo "<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId>"
        # Kafka Connect, with its web server, is a fifth of all and not used here.
        echo "<version>$VERSION</version><exclusions>"
        for a in connect-api connect-json connect-runtime; do
            echo "<exclusion><groupId>org.apache.kafka</groupId><artifactId>$a</artifactId></exclusion>"
        done
        echo "</exclusions></dependency>"
        # without it the broker is mute
        echo "<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>"
        echo "<version>$LOG4J</version></dependency></dependencies></project>"
    } >"$new/pom.xml"
    if ! mvn -B -q -C -f "$new/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$new" >"$new/mvn.log" 2>&1 9>&-; then
        tail -15 "$new/mvn.log" >&2
        rm -rf "$new"
        die 'mvn could not get the packages, its words are above'
    fi
    # whole or not at all; somebody with another DIR may have been faster
    if [[ -d $LIBS ]]; then rm -rf "$new"; else mv "$new" "$LIBS"; fi
}

# A password for each user, a CA of our own, and one certificate for all nodes: they share the address.
make_secrets() {   # $1: users beside the usual one, with commas
    local tls=$DIR/tls password user
    mkdir -p "$tls"; chmod 700 "$tls"
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out "$tls/ca.key" 2>/dev/null
    openssl req -x509 -new -key "$tls/ca.key" -sha256 -days 3650 -subj '/CN=Kafka test CA' \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign -out "$tls/ca.pem"
    # PKCS#8, which is all that Kafka reads
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out "$tls/server.key" 2>/dev/null
    openssl req -new -key "$tls/server.key" -subj '/CN=localhost' -out "$tls/server.req"
    openssl x509 -req -in "$tls/server.req" -CA "$tls/ca.pem" -CAkey "$tls/ca.key" -CAcreateserial \
        -sha256 -days 825 -out "$tls/server.crt" -extfile <(cat <<'EXT'
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth
subjectAltName=DNS:localhost,IP:127.0.0.1
EXT
        ) 2>/dev/null
    (
        umask 077
        cat "$tls/server.key" "$tls/server.crt" >"$tls/server.pem"
        password=$(openssl rand -hex 24)
        printf %s "$password" >"$DIR/scram.password"
        # read by the storage tool, so that the password is in no list of processes
        printf '%s\n' --add-scram "SCRAM-SHA-512=[name=$SCRAM_USER,password=$password]" >"$DIR/scram.args"
        mkdir -p "$DIR/users"
        for user in ${1//,/ }; do
            # the usual one keeps its password
            [[ $user != "$SCRAM_USER" ]] || continue
            openssl rand -hex 24 | tr -d '\n' >"$DIR/users/$user.password"
            printf '%s\n' --add-scram "SCRAM-SHA-512=[name=$user,password=$(<"$DIR/users/$user.password")]" >>"$DIR/scram.args"
        done
        printf %s "$password" >"$DIR/users/$SCRAM_USER.password"
        cat >"$DIR/client.properties" <<PROPERTIES
security.protocol=SASL_SSL
sasl.mechanism=SCRAM-SHA-512
sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
username="$SCRAM_USER" password="$password";
ssl.truststore.type=PEM
ssl.truststore.location=$tls/ca.pem
PROPERTIES
    )
}

# --- a node, by either engine; DIR has the same path inside a container, so one configuration serves both ---

# Runs a class of Kafka's in the foreground: $1 words for the JVM, then the class and its arguments.
run_class() {
    local jvm=$1; shift
    # shellcheck disable=SC2086
    if [[ $ENGINE == docker ]]; then
        docker run --rm -i --network host "${CONTAINER[@]}" $jvm "${JVM[@]}" -cp '/opt/kafka/libs/*' "$@"
    else
        "$java" $jvm "${JVM[@]}" -cp "$LIBS/*" "$@"
    fi
}

# What every container and every JVM is given. A rootless engine maps its root to us and nobody else.
set_words() {
    local user
    user=$(id -u):$(id -g)
    JVM=(-Dlog4j2.configurationFile="$DIR/log4j2.properties" -Djava.awt.headless=true)
    [[ $ENGINE == docker ]] || return 0
    [[ $(docker info -f '{{.SecurityOptions}}') != *rootless* ]] || user=0:0
    CONTAINER=(--user "$user" -v "$DIR:$DIR" --entrypoint java "$IMAGE")
}

tool() { get_engine >&2; set_words; run_class '-Xmx256m -Dlevel=warn' "$@"; }

format_node() {
    [[ ! -f $home/data/meta.properties ]] || return 0
    set_words
    local scram=()
    [[ $SASL == no ]] || scram=("@$DIR/scram.args")
    run_class '-Xmx128m -XX:TieredStopAtLevel=1 -Dlevel=warn' kafka.tools.StorageTool format \
        --cluster-id "$CLUSTER_ID" --config "$conf" "${scram[@]}" >"$home/format.log" 2>&1 9>&- && return
    tail -5 "$home/format.log" >&2
    return 1
}

launch() {
    set_words
    local words
    read -ra words <<<"-Xms128m -Xmx384m $JVM_OPTIONS"
    if [[ $ENGINE == docker ]]; then
        if docker container inspect "$container" >/dev/null 2>&1; then docker start "$container" >/dev/null; return; fi
        docker network inspect "$CONTAINERS" >/dev/null 2>&1 || docker network create "$CONTAINERS" >/dev/null
        local p publish=() with_sasl=${SASL#no}
        for p in "$port" ${with_sasl:+"$sasl_port"}; do publish+=(-p "127.0.0.1:$p:$p"); done
        docker run -d --name "$container" --network "$CONTAINERS" "${publish[@]}" "${CONTAINER[@]}" \
            "${words[@]}" "${JVM[@]}" -cp '/opt/kafka/libs/*' kafka.Kafka "$conf" >/dev/null
        return
    fi
    # A session of its own where that can be had: who interrupts the tests does not interrupt the broker.
    local session=nohup
    if command -v setsid >/dev/null; then session=setsid; fi
    "$session" "$java" "${words[@]}" "${JVM[@]}" -cp "$LIBS/*" kafka.Kafka "$conf" \
        </dev/null >>"$home/log" 2>&1 9>&- &
    echo $! >"$pidfile"
}

pid() {   # the pid of the node, only if it really is ours
    local p words
    [[ -r $pidfile ]] || return 1
    p=$(tr -cd 0-9 <"$pidfile")
    [[ -n $p ]] || return 1
    if [[ -d /proc/self ]]; then
        words=$(tr '\0' ' ' <"/proc/$p/cmdline") || return 1
    else
        words=$(ps -ww -o command= -p "$p") || return 1
    fi 2>/dev/null
    [[ $words == *" kafka.Kafka $conf"* ]] || return 1
    echo "$p"
}

running() {
    if [[ $ENGINE == docker ]]; then
        [[ $(docker container inspect -f '{{.State.Running}}' "$container" 2>/dev/null) == true ]]
    else
        pid >/dev/null
    fi
}

paused() {
    if [[ $ENGINE == docker ]]; then
        [[ $(docker container inspect -f '{{.State.Paused}}' "$container") == true ]]
    elif [[ -d /proc/self ]]; then
        grep -q '^State:.T' "/proc/$(pid)/status"
    else
        [[ $(ps -o state= -p "$(pid)") == T* ]]
    fi
}

signal() {
    local p
    if [[ $ENGINE == docker ]]; then
        case $1 in
        STOP) docker pause "$container" >/dev/null ;;
        CONT) if paused; then docker unpause "$container" >/dev/null; fi ;;
        *)    docker kill -s "$1" "$container" >/dev/null ;;
        esac
    else
        p=$(pid) && kill -"$1" "$p"
    fi
}

each() {   # $1: signal, $2...: nodes
    local i s=$1; shift
    for i in "$@"; do
        node "$i"
        running || die "node $n is not running"
        signal "$s"
        if [[ $s == KILL ]]; then while running; do sleep 0.02; done; fi
    done
}

forget() {
    rm -f "$pidfile"
    [[ $ENGINE == java ]] || docker rm "$container" >/dev/null 2>&1 || true
}

node_log() {   # the end of it, without the frames of its stack traces, which push the reason out of sight
    if [[ $ENGINE == docker ]]; then docker logs --tail 200 "$container" 2>&1; else tail -200 "$home/log"; fi |
        grep -v $'^\tat ' | tail -20
}

describe() {
    local p
    if [[ $ENGINE == docker ]]; then echo "container=$container"
    elif p=$(pid); then echo "pid=$p rss=$(($(ps -o rss= -p "$p" || echo 0) / 1024))MiB"
    else echo pid=none; fi
}
