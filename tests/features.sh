# shellcheck shell=bash
# Sourced by tests/run and .ci/run: the libraries of this machine that features need, and the features that follow. One set
# for all of lints, build and tests, so that nothing is compiled twice for the sake of another one.
#
# Sets FEATURES (arguments for cargo, always beside --workspace) and KERBEROS (arguments in addition to them; empty where
# MIT Kerberos is not here). FORESTSYNC_REQUIRE_PEERS=1: a library that is missing is a failure.

required() { [[ ${FORESTSYNC_REQUIRE_PEERS:-0} != 0 ]]; }
has_openssl() { command -v openssl >/dev/null && pkg-config --exists openssl 2>/dev/null; }
has_kerberos() { pkg-config --exists mit-krb5-gssapi 2>/dev/null && ls /usr/lib/*/libclang-*.so* >/dev/null 2>&1; }

if ! { has_openssl && has_kerberos; } && [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    {
        apt-get update -qq || true
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            pkg-config openssl libssl-dev libkrb5-dev libclang1 || true
    } >/dev/null
fi

FEATURES=() KERBEROS=()
if has_openssl; then
    FEATURES=(--features forestsync-log/kafka-tls)
else
    echo 'TLS towards Kafka needs openssl, libssl-dev and pkg-config: its suites are not built' >&2
    ! required || exit 1
fi
if has_kerberos; then
    KERBEROS=(--features forestsync-collector/kerberos)
    # libclang alone brings no headers: those of the compiler that is here
    BINDGEN_EXTRA_CLANG_ARGS=-I$(${CC:-cc} -print-file-name=include)
    export BINDGEN_EXTRA_CLANG_ARGS
else
    echo 'Kerberos needs libkrb5-dev, libclang1 and pkg-config: its suite is not built' >&2
    ! required || exit 1
fi
# shellcheck disable=SC2034  # for whoever sources this
readonly FEATURES KERBEROS
