#!/bin/sh
# Makes the certificates of the tests: an authority, one certificate for each machine of a small node, one of
# an operator, one of a reader, and one from a stranger's authority.  They are kept in the repository because
# they hold no secret of anybody, and so that the tests need no openssl.
set -eu
cd "$(dirname -- "$0")"
DAYS=36500

authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days $DAYS -subj "/CN=$1" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
        -keyout "$1.key" -out "$1.crt"
}

signed() { # NAME AUTHORITY SUBJECT-ALT-NAMES
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$1.key" -out "$1.csr"
    printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n' "$3" >"$1.ext"
    printf 'subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\nkeyUsage=digitalSignature\n' >>"$1.ext"
    openssl x509 -req -in "$1.csr" -CA "$2.crt" -CAkey "$2.key" -days $DAYS -extfile "$1.ext" -out "$1.crt"
    rm "$1.csr" "$1.ext"
}

authority ca
authority strange-ca
signed cfm ca IP:127.0.0.1,DNS:localhost
signed worker-1 ca IP:127.0.1.1
signed worker-2 ca IP:127.0.2.1
signed operator ca DNS:desk.example
signed reader ca DNS:dashboard.example
signed stranger strange-ca IP:127.0.0.1,IP:127.0.1.1
rm ca.key strange-ca.key
